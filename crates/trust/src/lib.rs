//! Who vouches: keys, statements, envelopes, model signatures; and a folder, measured against what was signed.
//!
//! A signature is worth what is checked before it is believed, so nothing leaves this crate as *signed* that did not pass
//! [`envelope::Opened::verified_by`]. Three things are kept apart: what is signed ([`oms`], [`manifest`]), who signed it
//! ([`keys`], [`certificate`]), and what is there ([`measure`]). People sign with their SSH keys ([`ssh`], [`commit`]), and others vouch for the time
//! ([`time`]). Whom to believe is the user's: no key and no root is ever
//! read from the folder that is verified.
#![forbid(unsafe_code)]

pub mod certificate;
pub mod chunks;
pub mod commit;
pub mod difference;
pub mod envelope;
pub mod index;
pub mod keyfile;
pub mod keys;
pub mod manifest;
pub mod measure;
pub mod name;
pub mod oms;
pub mod pem;
pub mod seal;
pub mod ssh;
pub mod statement;
pub mod strict;
pub mod succession;
pub mod time;
pub mod verify;
