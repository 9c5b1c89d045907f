//! What is said with each arm taken out. Only in the copy of the tree that `tests/arms` makes.
//!
//!     arms 'SERVICES' PERSON...
//!
//! prints `NUMBER SERVICE PERSON LINE` for the lines of ways that `policy explain` would say: all of them for number 0, with
//! all arms in place, and for each arm those of the logins of which something else is said without it. At the end it
//! prints the numbers of all arms that were come to.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use super::left::Known;
use super::*;
use crate::policy::files;

/// The arm that is out; for tests beside the code it is `MFA_ARM`.
static OUT: LazyLock<AtomicUsize> =
    LazyLock::new(|| AtomicUsize::new(std::env::var("MFA_ARM").map_or(0, |arm| arm.parse().expect("a number"))));

static SEEN: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// Whether this arm is out. It is asked wherever a login comes to it.
pub fn out(arm: usize) -> bool {
    SEEN.lock().expect("no poison").insert(arm);
    OUT.load(Ordering::Relaxed) == arm
}

/// No arm is left for what was found.
pub fn none() -> ! {
    panic!("no arm is left")
}

pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (services, people) = arguments.split_first().expect("services, and people");
    // Most of them are of arms that are out.
    std::panic::set_hook(Box::new(|panic| {
        if OUT.load(Ordering::Relaxed) == 0 {
            eprintln!("{panic}");
        }
    }));
    let host = host();
    let rules = Rules::of(host.policy(), &host);
    let bindings = host.bindings().ok().expect("the store");
    let asked = RefCell::new(HashMap::new());
    let mut facts = Facts::of_this_machine();
    // sshd says the same each time.
    facts.sshd = Box::new(|user, address| {
        let key = (user.to_owned(), address.to_owned());
        asked.borrow_mut().entry(key).or_insert_with(|| crate::factor::sshd::effective(user, address)).clone()
    });
    let mut all = BTreeSet::new();
    for name in people {
        let known = Known::of(name, &*bindings).expect("a person");
        let person = known.person().expect("a person");
        for service in services.split(' ') {
            let mut said = |arm| said(arm, &person, service, &rules, &mut facts);
            SEEN.lock().expect("no poison").clear();
            let whole = said(0);
            let print = |arm: usize, lines: &[String]| {
                lines.iter().for_each(|line| println!("{arm} {service} {name} {line}"));
            };
            print(0, &whole);
            let seen = std::mem::take(&mut *SEEN.lock().expect("no poison"));
            for arm in &seen {
                let without = said(*arm);
                if without != whole {
                    print(*arm, &without);
                }
            }
            all.extend(seen);
        }
    }
    println!("0 come to {}", all.iter().map(usize::to_string).collect::<Vec<_>>().join(" "));
}

/// As in `policy explain`.
fn said(arm: usize, person: &Person, service: &str, rules: &Rules, facts: &mut Facts) -> Vec<String> {
    OUT.store(arm, Ordering::Relaxed);
    // Arms are in what is read here, and in what these answers are kept by.
    facts.answers.take();
    let place = Place::Remote((service == "sshd").then_some("127.0.0.1"));
    let ways = catch_unwind(AssertUnwindSafe(|| {
        facts.shadow = super::shadow::Shadow::read();
        let ways = ways_in(person, service, place, rules, facts);
        ways.iter().map(|way| format!("way         {way}")).collect::<Vec<String>>()
    }));
    OUT.store(0, Ordering::Relaxed);
    match ways {
        Ok(ways) if ways.is_empty() => vec![String::from("no way")],
        Ok(ways) => ways,
        Err(_) => vec![String::from("broken off")],
    }
}

fn host() -> Host {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    Host {
        now,
        random: crate::host::random,
        synchronised: || true,
        caller_pid: 0,
        caller_is_root: true,
        caller_is_at: Whereabouts::Elsewhere,
        caller_audit_session: None,
        in_service: true,
        loaded: files::load(Path::new(files::DEFAULT), now()),
    }
}
