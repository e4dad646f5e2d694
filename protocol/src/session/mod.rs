//! A session between one client and one server: the handshake, then as many bundles as the client asks for.
//!
//! ```text
//! Client<Greeted> ── agree ──▶ Client<Ready> ── prepare ──▶ ClientBundle ── infer ──▶ Output
//! ```
//!
//! The order is in the types: there is no `prepare` before `agree`, and a bundle is moved into `infer`.

mod client;
mod encrypted;
mod float;
mod limits;
mod material;
mod options;
mod server;

pub use client::{Client, Greeted, Ready};
pub use options::ClientOptions;
pub use server::{Policy, Served, Server};
