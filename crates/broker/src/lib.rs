//! The shell: performs the node's effects with tokio, files and peers
