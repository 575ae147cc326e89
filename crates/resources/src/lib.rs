//! The custom resource types, shared by operator and local mode
