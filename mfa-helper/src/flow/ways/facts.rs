//! What this host's files and programs say: read when a question begins, and kept for all people that it is about.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use super::shadow::Shadow;
use super::sshd::{self, Settings};
use super::sudoers::{Grant, granted};
use super::user::User;
use crate::factor::sshd as program;
use crate::host::host_name;
use crate::stack::{self, Files, Kind, Stack, system_file};
use crate::sudo::{self, Setting, Waives};

/// An address that no network has (RFC 5737), for logins from anywhere.
const ANYWHERE: &str = "192.0.2.1";

type Asked<'a> = Box<dyn Fn(&str, &str) -> Result<String, String> + 'a>;
type Stacks = HashMap<(String, &'static str), Rc<Result<Stack, String>>>;

/// The facts about this host by which ways in differ.
pub struct Facts<'a> {
    pub files: Box<Files<'a>>,
    pub shadow: Shadow,
    /// Whether a file exists.
    pub exists: Box<dyn Fn(&str) -> bool + 'a>,
    /// Whether a module, as a line names it, is installed.
    pub installed: Box<dyn Fn(&str) -> bool + 'a>,
    /// All of sudoers; `None` where sudo's own parser is not installed.
    pub sudoers: Result<Option<Value>, String>,
    pub sudo_settings: Result<Vec<Setting>, String>,
    /// The conditions of sshd's `Match` blocks.
    pub conditions: Result<Vec<String>, String>,
    /// The answer of `sshd -T` about a user from an address.
    pub sshd: Asked<'a>,
    pub answers: RefCell<HashMap<(String, String), Result<Settings, String>>>,
    pub stacks: RefCell<Stacks>,
    pub hand_overs: RefCell<HashMap<String, Result<(), String>>>,
}

/// Asks once about each path: everybody comes by the same stacks and shells.
fn kept<T: Clone>(ask: impl Fn(&str) -> T) -> impl Fn(&str) -> T {
    let answers: RefCell<HashMap<String, T>> = RefCell::default();
    move |path| {
        if let Some(answer) = answers.borrow().get(path) {
            return answer.clone();
        }
        let answer = ask(path);
        answers.borrow_mut().insert(path.to_owned(), answer.clone());
        answer
    }
}

impl<'a> Facts<'a> {
    /// Those of this machine.
    pub fn of_this_machine() -> Facts<'a> {
        let folders = stack::module_folders();
        Facts {
            files: Box::new(kept(system_file)),
            shadow: Shadow::read(),
            exists: Box::new(kept(|path| Path::new(path).exists())),
            installed: Box::new(kept(move |module| {
                if module.starts_with('/') {
                    Path::new(module).exists()
                } else {
                    folders.iter().any(|folder| folder.join(module).exists())
                }
            })),
            sudoers: sudo::parsed(),
            sudo_settings: sudo::settings(),
            conditions: program::match_blocks(),
            sshd: Box::new(program::effective),
            answers: RefCell::default(),
            stacks: RefCell::default(),
            hand_overs: RefCell::default(),
        }
    }

    /// Those of a host without files and programs.
    #[cfg(test)]
    pub fn of_nothing() -> Facts<'a> {
        Facts {
            files: Box::new(|_| Ok(None)),
            shadow: Shadow::of("", Ok("")),
            exists: Box::new(|_| false),
            installed: Box::new(|_| false),
            sudoers: Ok(None),
            sudo_settings: Ok(Vec::new()),
            conditions: Ok(Vec::new()),
            sshd: Box::new(|_, _| Err(String::from("no sshd"))),
            answers: RefCell::default(),
            stacks: RefCell::default(),
            hand_overs: RefCell::default(),
        }
    }

    /// The stack of a service, for callers that are not root.
    pub fn stack(&self, service: &str, kind: Kind) -> Rc<Result<Stack, String>> {
        let word = match kind {
            Kind::Auth => "auth",
            Kind::Account => "account",
            Kind::Session => "session",
        };
        let read = || {
            let stack = Stack::read(service, kind, &*self.files).map(|stack| stack.not_by_root(service));
            Rc::new(stack.map_err(|error| error.to_string()))
        };
        Rc::clone(self.stacks.borrow_mut().entry((service.to_owned(), word)).or_insert_with(read))
    }

    /// Whether a service has a file of its own.
    pub fn has_file(&self, service: &str) -> bool {
        ["/etc/pam.d", "/usr/lib/pam.d"]
            .iter()
            .any(|folder| !matches!((self.files)(&format!("{folder}/{service}")), Ok(None)))
    }

    /// Whether a device can be bound in this service, by its stacks and by sudo's settings.
    pub fn hand_over(&self, service: &str) -> Result<(), String> {
        let judge = || {
            if matches!(service, "sudo" | "sudo-i") {
                sudo::runs_both(self.sudo_settings.as_ref().map_err(Clone::clone)?)?;
            }
            stack::hand_over(service, &*self.files)
        };
        self.hand_overs.borrow_mut().entry(service.to_owned()).or_insert_with(judge).clone()
    }

    /// sshd's settings for a user, asked once for each class of users.
    pub fn sshd_for(&self, user: &User, address: Option<&str>) -> Result<Settings, String> {
        let conditions = self.conditions.as_ref().map_err(Clone::clone)?;
        let address = address.unwrap_or(ANYWHERE);
        let class = (sshd::class(conditions, user), address.to_owned());
        let ask = || (self.sshd)(user.name, address).map(|said| Settings::read(&said));
        self.answers.borrow_mut().entry(class).or_insert_with(ask).clone()
    }

    /// The setting by which sudo does not go by the sudoers or by the stack that are read here, or why that is not known.
    pub fn sudo_goes_elsewhere(&self) -> Option<String> {
        let elsewhere = |setting: &&Setting| {
            matches!(setting.waives, Waives::Service | Waives::Policy | Waives::Sight | Waives::Account)
        };
        match &self.sudo_settings {
            Ok(settings) => settings.iter().find(elsewhere).map(Setting::to_string),
            Err(why) => Some(why.clone()),
        }
    }

    /// What sudoers grants to a user.
    pub fn granted(&self, user: &User) -> Grant {
        match &self.sudoers {
            Ok(Some(sudoers)) => granted(sudoers, user, &host_name()),
            Ok(None) => Grant::NotKnown(String::from(
                "sudo's cvtsudoers, which would tell what sudoers grants, is not installed",
            )),
            Err(why) => Grant::NotKnown(why.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_asked_about_once() {
        let asked = RefCell::new(Vec::new());
        let exists = kept(|path| {
            asked.borrow_mut().push(path.to_owned());
            path == "/bin/sh"
        });
        let answers: Vec<bool> = ["/bin/sh", "/bin/no", "/bin/sh", "/bin/no"].map(exists).into();
        assert_eq!(answers, [true, false, true, false]);
        assert_eq!(asked.into_inner(), ["/bin/sh", "/bin/no"]);
    }
}
