//! A login with a security key that is touched at once, beside pam_u2f: `make bench-keys`.
//!
//! Keys are found by sysfs and by udev, so this runs in a machine with a kernel of its own, emulated: its times mean
//! nothing, but their ratios in one run do.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use vm::Machine;

use crate::count::memory;
use crate::number;
use crate::report::median;
use crate::subject::{FIRST, MAKE_FIRST};
use crate::sys::transaction;

/// Title, service, and what follows `auth required` in its file. Both modules ask the same credential of the same key,
/// and tell the person to touch it.
const SUBJECTS: [(&str, &str, &str); 4] = [
    ("pam_permit", "permit", "pam_permit.so"),
    ("pam_u2f", "u2f", "pam_u2f.so authfile=/etc/u2f_mappings cue"),
    ("pam_mfa, socket", "socket", "pam_mfa.so stack=complete helper=/nowhere"),
    ("pam_mfa, spawn", "spawn", "pam_mfa.so stack=complete socket=/nowhere"),
];
const PERMIT: usize = 0;
const PEER: usize = 1;

/// A credential made by libfido2's own tools, in pam_u2f's file, and taken over from there.
const BIND: &str = "
    random() { head -c 32 /dev/urandom | base64; }
    cd /run/mfa-test
    { random; echo pam://web1; echo anna; random; } | fido2-cred -M /dev/hidraw0 | fido2-cred -V >bound
    public=$(sed '1d;/-----/d' bound | tr -d '\\n' | base64 -d | tail -c 64 | base64 -w0)
    echo \"anna:$(head -1 bound),$public,es256,+presence\" >/etc/u2f_mappings
    mfa-enroll import pam-u2f /etc/u2f_mappings
    # libpam reads it for every kind that a service file leaves out.
    echo '# nothing' >/etc/pam.d/other
    chmod 0755 /usr/local/bin/bench
    # The first to knock at the socket would wait for it.
    systemctl start mfa-helper.service
";

/// On a virtual console that nobody has logged in at: where a key is asked.
const RUN: &str = "systemd-run --quiet --wait --collect --property=StandardInput=tty-force --property=TTYPath=/dev/tty3 \
    --property=StandardOutput=truncate:/run/mfa-test/measured --property=StandardError=truncate:/run/mfa-test/errors \
    bench keys inside";

/// So many rounds end within the time that a script may take in the machine.
const BATCH: usize = 5;

/// Makes the machine, and has it measure.
pub fn outside() -> ExitCode {
    let rounds = number("ROUNDS");
    let machine = Machine::shipped();
    machine.user("anna", "Geheim-anna-9!");
    machine.write("/usr/local/bin/bench", fs::read("/proc/self/exe").expect("this program"));
    let _key = machine.plug_in("");
    machine.root(BIND);
    machine.root(MAKE_FIRST);
    for (_, service, line) in SUBJECTS {
        machine.write(&format!("/etc/pam.d/{service}"), format!("{FIRST}\nauth required {line}\n"));
    }
    let measure = |what: &str| {
        let output = machine.root_output(&format!("{RUN} {what}; cat /run/mfa-test/measured"));
        let errors = || machine.root("tail -n 20 /run/mfa-test/errors; journalctl -n 40 --no-pager --quiet");
        assert_eq!(output.code, 0, "{output}\n{}", errors());
        output.stdout
    };

    let maps = measure("maps");
    // The first one only warms up.
    measure("1");
    let mut times = vec![Vec::new(); SUBJECTS.len()];
    for begun in (0..rounds).step_by(BATCH) {
        for line in measure(&BATCH.min(rounds - begun).to_string()).lines() {
            let (which, time) = line.split_once(' ').expect("a subject and its time");
            times[which.parse::<usize>().expect("a number")].push(time.parse::<f64>().expect("a time"));
        }
    }
    print(&times, &maps);
    ExitCode::SUCCESS
}

fn print(times: &[Vec<f64>], maps: &str) {
    println!("{:18}{:>9}{:>9}{:>9}{:>9}{:>9}  libraries", "login", "median", "min", "x u2f", "mapped", "resid");
    let floor = numbers(maps.lines().nth(PERMIT).unwrap_or_default());
    for (n, ((title, ..), line)) in SUBJECTS.iter().zip(maps.lines()).enumerate() {
        let minimum = times[n].iter().copied().fold(f64::INFINITY, f64::min);
        // Of logins that came right after one another: what the emulator is busy with changes from minute to minute.
        let ratios: Vec<f64> = times[n].iter().zip(&times[PEER]).map(|(time, peer)| time / peer).collect();
        let memory = numbers(line);
        println!(
            "{title:18}{:9.0}{minimum:9.0}{:9.2}{:9}{:9}  {}",
            median(&times[n]),
            median(&ratios),
            memory[0].saturating_sub(floor[0]),
            memory[1].saturating_sub(floor[1]),
            line.splitn(3, ' ').nth(2).unwrap_or_default()
        );
    }
    println!(
        "\n{} rounds, one login of each in turn, each in a process of its own; microseconds of the emulator, KiB",
        times[0].len()
    );
}

fn numbers(line: &str) -> Vec<usize> {
    line.split(' ').take(2).map(|n| n.parse().expect("a number")).collect()
}

/// `bench keys inside ROUNDS`: prints the number of a subject and its microseconds for each login. `bench keys inside
/// maps`: for each subject what it maps.
pub fn inside(what: &str) -> ExitCode {
    let login = |which: usize, how: &str| {
        let (title, service, _) = SUBJECTS[which];
        let output = Command::new("/proc/self/exe").args(["keys", "login", service, how]).output().expect("myself");
        assert!(output.status.success(), "{title}: {}", String::from_utf8_lossy(&output.stderr));
        // What still runs of this one must not be charged to the next.
        wait_for_calm();
        String::from_utf8(output.stdout).expect("text")
    };
    let Ok(rounds) = what.parse::<usize>() else {
        (0..SUBJECTS.len()).for_each(|which| print!("{}", login(which, "maps")));
        return ExitCode::SUCCESS;
    };
    for round in 0..rounds {
        for turn in 0..SUBJECTS.len() {
            // Nobody always comes after the same one.
            let which = (turn * [1, 3][round % 2] + round / 2) % SUBJECTS.len();
            print!("{which} {}", login(which, "time"));
        }
    }
    ExitCode::SUCCESS
}

/// Until no conversation is left: one helper at most, behind the socket.
fn wait_for_calm() {
    let is_helper = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim_end() == "mfa-helper")
    };
    let helpers = || fs::read_dir("/proc").expect("/proc").flatten().filter(is_helper).count();
    let deadline = Instant::now() + Duration::from_secs(20);
    while helpers() > 1 {
        assert!(Instant::now() < deadline, "a helper of a login does not end");
        std::thread::yield_now();
    }
}

/// `bench keys login SERVICE time|maps`: one login, as a program that has just been started does it.
pub fn login(service: &str, how: &str) -> ExitCode {
    let service = CString::new(service).expect("a service");
    if how == "time" {
        let begin = Instant::now();
        let code = transaction(&service, c"anna", c"", || {});
        let elapsed = begin.elapsed();
        assert_eq!(code, 0, "pam_authenticate");
        println!("{:.0}", elapsed.as_secs_f64() * 1e6);
        return ExitCode::SUCCESS;
    }
    memory();
    let (before, libraries_before) = (memory(), libraries());
    let after = Cell::new((before, BTreeSet::new()));
    let code = transaction(&service, c"anna", c"", || after.set((memory(), libraries())));
    assert_eq!(code, 0, "pam_authenticate");
    let (after, libraries_after) = after.take();
    let new: Vec<_> = libraries_after.difference(&libraries_before).map(String::as_str).collect();
    println!("{} {} {}", after[0].saturating_sub(before[0]), after[1].saturating_sub(before[1]), new.join(" "));
    ExitCode::SUCCESS
}

/// The names of the shared objects in this process.
fn libraries() -> BTreeSet<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let objects = maps.lines().filter_map(|line| line.rsplit_once('/')).map(|(_, name)| name);
    objects.filter(|name| name.contains(".so")).map(str::to_owned).collect()
}
