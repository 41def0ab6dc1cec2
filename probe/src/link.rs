//! Connections to servers, each bounded in what it reads. They know how to talk, not what an answer
//! means.

pub mod connect;
pub mod http;
pub mod kept;
pub mod nats;
mod nss;
pub mod read_limit;
pub mod redis;
pub mod store;
