//! What commands print: tables for people, JSON and YAML for programs.

pub(crate) mod activity;
pub(crate) mod cluster;
pub(crate) mod document;
pub(crate) mod error;
pub(crate) mod message;
pub(crate) mod rows;
pub(crate) mod table;
pub(crate) mod text;
