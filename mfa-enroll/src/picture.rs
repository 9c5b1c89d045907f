//! The QR code as a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mfa_wire::Secret;

use crate::files::New;
use crate::signals::Signals;
use mfa_qr::Symbol;

/// A new file that nobody else can read. It is made before the helper is asked for anything, so that a bad name is
/// found early, and is removed unless it is kept.
pub(crate) struct Picture {
    path: PathBuf,
    new: New,
    keep: bool,
    /// Blocks signals until the file is removed.
    _signals: Signals,
}

impl Picture {
    /// Makes the file, in a folder of the caller's or root's that others cannot write to.
    pub(crate) fn create(path: &Path) -> Result<Picture, String> {
        let make = || {
            let signals = Signals::hold()?;
            Ok(Picture { path: path.to_owned(), new: New::create(path)?, keep: false, _signals: signals })
        };
        make().map_err(|e: io::Error| match e.kind() {
            io::ErrorKind::AlreadyExists => format!("{} is there already, and is not overwritten", path.display()),
            _ => format!("cannot make {}: {e}", path.display()),
        })
    }

    /// Draws the QR code of `uri` into the file.
    pub(crate) fn write(&mut self, uri: &Secret) -> Result<(), String> {
        let mut write = || {
            let symbol = Symbol::of(uri.bytes()).ok_or(io::ErrorKind::FileTooLarge)?;
            self.new.file.write_all(symbol.svg().as_bytes())?;
            self.new.file.sync_all()
        };
        write().map_err(|e: io::Error| format!("cannot write {}: {e}", self.path.display()))
    }

    /// Keeps the file, because its device was bound.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        if !self.keep {
            self.new.remove();
        }
    }
}
