//! A real broker on a temporary folder, driven over its sockets by the generated client.

mod admin;
mod cluster;
mod consume_queue;
mod consume_share;
mod consume_topic;
mod groups;
mod harness;
mod hostile;
mod joining;
mod lifecycle;
mod looking;
mod members;
mod observing;
mod publish;
mod queues;
mod web;
