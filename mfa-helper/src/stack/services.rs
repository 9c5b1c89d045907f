//! The services of this host: whether one is there, and asks for a second factor.

use std::collections::BTreeSet;
use std::fmt;

use mfa_wire::{nearest, printable};

use super::{Kind, OURS, Stack, StackError, system_file};

/// Files for inclusion, and the service of the first factor alone, which has no second one.
const NO_SERVICES: &[&str] = &[
    "config-util",
    "fingerprint-auth",
    "mfa-enroll",
    "mfa-sshd-key",
    "other",
    "password-auth",
    "postlogin",
    "smartcard-auth",
    "system-auth",
    "system-local-login",
    "system-login",
    "system-remote-login",
    "system-services",
];

/// Endings of files that package managers, pam-auth-update and editors leave behind.
const LEFT_OVER: &[&str] = &["~", ".pam-old", ".orig", ".bak", ".rpmnew", ".rpmsave", ".pacnew", ".pacsave", ".swp"];

/// The services that have a file.
pub fn services() -> Vec<String> {
    let mut names = BTreeSet::new();
    for folder in ["/etc/pam.d", "/usr/lib/pam.d"] {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
    }
    let is_service = |name: &String| {
        let left_over = name.contains(".dpkg-") || LEFT_OVER.iter().any(|end| name.ends_with(end));
        !left_over && !name.starts_with('.') && !name.starts_with("common-") && !NO_SERVICES.contains(&name.as_str())
    };
    names.into_iter().filter(is_service).collect()
}

/// Why a rule for a service asks nobody.
#[derive(Debug, PartialEq, Eq)]
pub enum Unasked {
    /// It has no file.
    NoSuch {
        /// Its name.
        service: String,
        /// The service that was probably meant.
        nearest: Option<String>,
    },
    /// No auth line of its stack calls our module.
    NoLine(String),
    /// What its stack does cannot be told.
    NotKnown(String, StackError),
}

impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unasked::NoSuch { service, nearest: Some(near) } => {
                write!(f, "no service is called {}; did you mean {near}?", printable(service, 64))
            }
            Unasked::NoSuch { service, nearest: None } => write!(f, "no service is called {}", printable(service, 64)),
            Unasked::NoLine(service) => {
                write!(f, "the service {service} asks for no second factor: {OURS} is not in its auth lines")
            }
            Unasked::NotKnown(service, why) => {
                write!(f, "whether the service {service} asks for a second factor cannot be told: {why}")
            }
        }
    }
}

/// Whether this host has that service. libpam looks for a file by the name in small letters; a program that names a
/// service without one gets the lines of `other`, which no rule can mean.
pub fn is_there(service: &str) -> Result<(), Unasked> {
    let services = services();
    if services.iter().any(|name| name == service) {
        return Ok(());
    }
    let nearest = nearest(service, services.iter().map(String::as_str)).map(str::to_owned);
    Err(Unasked::NoSuch { service: service.to_owned(), nearest })
}

/// Whether that service is there and has an auth line of ours. Without one, a rule for it asks nobody.
pub fn asks(service: &str) -> Result<(), Unasked> {
    is_there(service)?;
    match Stack::read(service, Kind::Auth, &system_file) {
        Ok(stack) if stack.modules().any(|module| module.is_ours()) => Ok(()),
        Ok(_) => Err(Unasked::NoLine(service.to_owned())),
        Err(why) => Err(Unasked::NotKnown(service.to_owned(), why)),
    }
}
