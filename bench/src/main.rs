//! What a login costs, beside its peers: `make bench`. `docs/performance.md` says how to read it.
//!
//! Without an argument it makes a Debian, goes into it and starts itself again as `inside`; there it writes users,
//! measures ([`measure`]), and starts itself as `login` under strace to count ([`count`]).

#![deny(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod count;
mod keys;
mod lists;
mod measure;
mod report;
mod subject;
mod sys;
mod users;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use subject::{FIRST, MAKE_FIRST, SUBJECTS};
use users::{User, Users};

/// What the Debian has besides the essential packages: the peers, and what counts system calls.
const PACKAGES: &str = "libpam-google-authenticator,libpam-oath,libpam-modules,strace";

/// In namespaces of its own, so that nothing stays mounted and no process stays behind. The shell stays as process 1 and
/// collects orphans, as an init would; whatever still runs when it ends dies with it.
///
/// A copy of the root file system and not an overlay, so that nothing stands between the files and their disk: ext4 as
/// Debian makes it, in an image, or, with DISK=folder, whatever the cache is on. The image is sparse; its inode tables
/// are written before and not while something is measured.
const ENTER: &str = r#"
    lower=$1 work=$2 built=$3
    umask 077
    exec 9>"$work.lock"
    flock --nonblock 9 || { echo "another one runs: they would measure each other"; exit 1; }
    rm -rf "$work" "$work.img"
    trap 'cd /; umount -q -l "$work" || :; rm -rf --one-file-system "$work" "$work.img"' EXIT
    mkdir "$work"
    if [ "$DISK" = image ]; then
        truncate -s "$((2048 + MOST / 16))M" "$work.img"
        mkfs.ext4 -q -N "$((100000 + MOST * 6))" -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$work.img"
        mount -o loop "$work.img" "$work" || { echo "no loop devices here: DISK=folder does without"; exit 1; }
    fi
    cp -a --reflink=auto "$lower/." "$work"
    cd "$work"
    chmod 755 .
    install -D -m 0755 "$built/mfa-helper" usr/libexec/mfa-helper
    install -m 0755 "$built/bench" "$built/mfa-enroll" usr/bin
    install -m 0644 "$built/libpam_mfa.so" "$(echo usr/lib/*/security)/pam_mfa.so"
    mount -t proc proc proc
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    for node in null zero full random urandom; do
        : >dev/$node
        mount --bind /dev/$node dev/$node
    done
    status=0
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin USERS="$USERS" ROUNDS="$ROUNDS" N="$N" \
        DISK="$(findmnt -no FSTYPE -T .), $DISK" chroot . bench $WHAT || status=$?
    umount -R -l dev run proc
    exit $status
"#;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            outside("inside", &e2e::Rootfs::made_of("bookworm", PACKAGES, "rm -f /etc/resolv.conf"), "10 1000 100000")
        }
        ["inside"] => inside(),
        ["lists"] => outside("lists inside", &e2e::Rootfs::debian("trixie"), "1000 10000 100000"),
        ["lists", "inside"] => lists::inside(),
        ["lists", "measure", policy, words @ ..] => lists::measure(policy, words),
        ["log"] => measure::read_log(),
        ["login", service, rest @ ..] => count::login(service, rest),
        ["keys"] => keys::outside(),
        ["keys", "inside", what] => keys::inside(what),
        ["keys", "login", service, how] => keys::login(service, how),
        _ => {
            eprintln!("usage: bench (as `make bench`, `make bench-keys` and `make bench-lists` call it)");
            ExitCode::FAILURE
        }
    }
}

fn outside(what: &str, debian: &e2e::Rootfs, users: &str) -> ExitCode {
    let cache = PathBuf::from(env::var_os("MFA_TEST_CACHE").unwrap_or_else(|| "/var/cache/mfa-tests".into()));
    let built = env::current_exe().expect("this program has a path");
    let set = |name: &str, default: &str| env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or(default.to_owned());
    let users = set("USERS", users);
    let most = numbers(&users).into_iter().max().unwrap_or(0);
    let status = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation=private", "sh", "-euc", ENTER, "sh"])
        .arg(debian.lowerdir())
        .arg(cache.join("bench"))
        .arg(built.parent().expect("it is in a folder"))
        .env("WHAT", what)
        .env("USERS", users)
        .env("MOST", most.to_string())
        .env("DISK", set("DISK", "image"))
        .env("ROUNDS", set("ROUNDS", "120"))
        .env("N", set("N", "5"))
        .status()
        .expect("unshare (util-linux)");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn number(name: &str) -> usize {
    env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name} is a number"))
}

fn numbers(text: &str) -> Vec<usize> {
    text.split_whitespace().map(|n| n.parse().expect("USERS are numbers")).collect()
}

fn inside() -> ExitCode {
    let (rounds, n) = (number("ROUNDS"), number("N"));
    let counts = numbers(&env::var("USERS").expect("set outside"));
    let disk = env::var("DISK").expect("set outside");
    assert!(
        !disk.starts_with("tmpfs"),
        "the store would be in memory, where nothing has to be made durable: set MFA_TEST_CACHE"
    );

    let made = Command::new("sh").args(["-c", MAKE_FIRST]).status().expect("sh");
    assert!(made.success(), "no module that stands for the first factor");
    for subject in SUBJECTS {
        let stack = format!("{FIRST}\nauth required {}\n", subject.line);
        fs::write(format!("/etc/pam.d/{}", subject.service), stack).expect("pam.d");
    }
    // libpam reads it for every kind that a service file leaves out.
    fs::write("/etc/pam.d/other", "# nothing\n").expect("pam.d");
    fs::create_dir_all("/etc/mfa/mfa.d").expect("/etc/mfa");
    fs::write("/etc/mfa/mfa.toml", "# no rules\n").expect("mfa.toml");
    // A policy that was changed a moment ago is not believed yet.
    fs::File::open("/etc/mfa/mfa.toml").and_then(|file| file.set_modified(UNIX_EPOCH)).expect("mfa.toml");
    fs::create_dir_all("/run/mfa").expect("/run/mfa");
    let passwd = fs::read_to_string("/etc/passwd").expect("passwd");

    let load = fs::read_to_string("/proc/loadavg").expect("/proc/loadavg");
    let mut users = Users::none(now());
    let mut log = measure::log();
    let mut tables = Vec::new();
    for count in counts {
        // Two for each transaction of a round: the socket's and the started helper's burn codes in one store.
        assert!(count >= 2 * n && count >= 10, "at least 10 users, and at least twice N");
        eprint!("{count} users: writing");
        users.grow(count);
        users.prove();
        let who = People::new(count, n);
        // Only who logs in: as many lines however many have a device, because the name service reads them all.
        fs::write("/etc/passwd", [passwd.as_str(), &who.passwd()].concat()).expect("passwd");
        eprint!(", measuring");
        let times = measure::rounds(&users, &who, rounds);
        eprint!(", counting");
        let counts = count::all(&users, &who);
        eprintln!();
        let table = report::Table { users: count, times, counts };
        table.print();
        tables.push(table);
    }
    report::print_growth(&tables);
    println!(
        "\n{rounds} rounds of {n} transactions of each, one of each in turn; files on: {disk}; {} lines in /etc/passwd",
        fs::read_to_string("/etc/passwd").expect("passwd").lines().count()
    );
    println!("load average of the machine, before: {}", load.split_whitespace().next().unwrap_or_default());
    log.kill().and_then(|()| log.wait()).expect("the reader of the log");
    ExitCode::SUCCESS
}

/// Who logs in: evenly spread over all who have a device, and one who has none.
struct People {
    by_socket: Vec<User>,
    by_spawn: Vec<User>,
}

const UNBOUND: &str = "unbound";

impl People {
    fn new(count: usize, n: usize) -> People {
        let of = |from: usize| (from..from + n).map(|i| User::number(i * count / (2 * n))).collect();
        People { by_socket: of(0), by_spawn: of(n) }
    }

    fn passwd(&self) -> String {
        let names = self.by_socket.iter().chain(&self.by_spawn).map(|user| user.name().into_string().expect("ASCII"));
        names.chain([UNBOUND.to_owned()]).map(|name| format!("{name}:x:20000:100::/:/bin/false\n")).collect()
    }
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the peers and the helper have the same clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
