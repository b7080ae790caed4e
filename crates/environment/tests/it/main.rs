//! The promises of this crate on real folders.

#[cfg(test)]
mod caching;
#[cfg(test)]
mod judging;
#[cfg(test)]
mod recording;
#[cfg(test)]
mod referring;
#[cfg(test)]
mod site;
#[cfg(test)]
mod walking;
#[cfg(test)]
mod wheels;
