//! The contract's requests and REST calls, on real stores and a real aggregate service.

mod guarding;
mod reading;
mod sending;
mod serving;
mod world;
