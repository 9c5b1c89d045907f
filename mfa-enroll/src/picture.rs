//! The QR code as a file.

use std::fs::{File, OpenOptions, remove_file};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::qr::Symbol;

/// A new file that nobody else can read. It is made before anything is asked of the helper, so that
/// a bad name costs nothing, and goes away again unless it is kept.
pub(crate) struct Picture {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl Picture {
    /// Makes the file. Never touches one that is there, nor follows a link.
    pub(crate) fn create(path: &Path) -> io::Result<Picture> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Picture { path: path.to_owned(), file, keep: false })
    }

    /// Draws `symbol` into it.
    pub(crate) fn write(&mut self, symbol: &Symbol) -> io::Result<()> {
        self.file.write_all(symbol.svg().as_bytes())?;
        self.file.sync_all()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it shows is worth keeping.
    pub(crate) fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        if !self.keep {
            let _ = remove_file(&self.path);
        }
    }
}
