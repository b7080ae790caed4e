//! How it is shown: plain text and JSON; all hostile text is made safe here.
