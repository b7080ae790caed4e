//! Whether every blob is what its name says.

use std::path::{Path, PathBuf};

use domain::Digest;

use super::files::{is_folder, list};
use super::{AuditProblem, Findings, Place};
use crate::blobs::digest_of_file;
use crate::store::{Store, TEMPORARY};

pub(super) fn audit(store: &Store, findings: &mut Findings) {
    let place = Place {
        root: store.root(),
        folder: PathBuf::from("blobs"),
    };
    for (item, name) in list(&place, &place.folder, true, findings) {
        let file = place.folder.join(item.file_name());
        match name {
            Some(name) if name.starts_with(TEMPORARY) => findings.leftover(file),
            Some(name) if name.len() == 2 && is_folder(&item) => {
                audit_folder(&place, &name, findings);
            }
            _ => findings.problem(&file, AuditProblem::Unexpected),
        }
    }
}

fn audit_folder(place: &Place<'_>, start: &str, findings: &mut Findings) {
    let folder = place.folder.join(start);
    for (item, name) in list(place, &folder, false, findings) {
        let file = folder.join(item.file_name());
        let digest = name.and_then(|rest| format!("{start}{rest}").parse::<Digest>().ok());
        match digest {
            Some(digest) => audit_blob(place, &file, digest, findings),
            None => findings.problem(&file, AuditProblem::Unexpected),
        }
    }
}

fn audit_blob(place: &Place<'_>, file: &Path, digest: Digest, findings: &mut Findings) {
    match digest_of_file(&place.root.join(file)) {
        Ok(Some((actual, bytes))) => {
            findings.report.blobs += 1;
            findings.report.bytes += bytes;
            if actual != digest {
                findings.problem(file, AuditProblem::Blob);
            }
        }
        // Removed since it was listed; an entry that needs it was looked at before.
        Ok(None) => {}
        Err(fault) => findings.fault(file, &fault),
    }
}
