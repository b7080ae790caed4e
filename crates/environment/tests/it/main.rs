//! The promises of this crate on real folders.

mod caching;
mod judging;
mod recording;
mod site;
mod walking;
