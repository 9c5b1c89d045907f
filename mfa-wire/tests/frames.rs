//! Frames over a real socket, any message there and back, and malformed frames by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mfa_wire::{
    Account, AuthHook, Broken, Cancelled, Channel, Device, DeviceStatus, FromHelper, Hello, Login, MAX_FRAME,
    Malformed, NewKey, Outcome, Prompter, Remembered, Request, Required, Secret, Status, ToHelper, Verb, Verdict,
    converse, greet,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

const SOON: Duration = Duration::from_secs(5);

fn pair() -> (Channel, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Channel::new(ours), theirs)
}

/// Every file of `tests/vectors/wire`: its first line says what must become of its bytes.
#[test]
fn malformed_vectors_are_refused_for_what_their_name_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/wire");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let (expected, hex) = text.split_once('\n').unwrap();
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        assert_eq!(read_as(&name, &bytes), expected, "{name}");
        seen += 1;
    }
    assert!(seen >= 15, "the vectors are there");
}

/// What a reader makes of `bytes` and the end of the stream after them.
fn read_as(name: &str, bytes: &[u8]) -> String {
    let (mut ours, mut theirs) = pair();
    theirs.write_all(bytes).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let frame = match ours.receive(SOON) {
        Ok(frame) => frame,
        Err(broken) => return format!("{broken:?}"),
    };
    let error =
        if name.starts_with("to_helper") { ToHelper::decode(&frame).err() } else { FromHelper::decode(&frame).err() };
    error.map_or(String::from("accepted"), |malformed| format!("{malformed:?}"))
}

#[test]
fn half_a_frame_in_time_is_no_frame() {
    let (mut ours, mut theirs) = pair();
    theirs.write_all(&[0, 0, 0, 9, 0x21]).unwrap();
    assert_eq!(ours.receive(Duration::from_millis(20)).err(), Some(Broken::TimedOut));
}

#[test]
fn a_frame_in_drips_is_not_waited_for_any_longer() {
    let (mut ours, mut theirs) = pair();
    let drips = std::thread::spawn(move || {
        let (mut drip, _silent) = UnixStream::pair().unwrap();
        drip.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        theirs.write_all(&[0, 0, 0, 250, 0x22]).unwrap();
        // Each byte comes well within the time for the whole frame. The read, which nothing answers, is only a way to
        // wait.
        while theirs.write_all(&[0]).is_ok() {
            let _ = std::io::Read::read(&mut drip, &mut [0]);
        }
    });
    assert_eq!(ours.receive(Duration::from_millis(100)).err(), Some(Broken::TimedOut));
    drop(ours);
    drips.join().unwrap();
}

#[test]
fn a_second_hello_ends_the_conversation() {
    let (mut ours, theirs) = pair();
    let hello = FromHelper::Hello(Hello { oldest: 1, newest: 1 });
    let verdict = FromHelper::Verdict(Verdict { outcome: Outcome::Accepted, text: String::new() });
    let helper = helper(theirs, vec![hello, verdict]);
    let result = converse(&mut ours, Request::Verb(Verb::List), &mut Script::default());
    assert_eq!(result, Err(Broken::OutOfTurn));
    helper.join().unwrap();
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let (mut ours, _theirs) = pair();
    let frame = Secret::zeroed(MAX_FRAME);
    let broken = (0..1000).find_map(|_| ours.send(&frame, Duration::from_millis(20)).err());
    assert_eq!(broken, Some(Broken::TimedOut));
}

#[test]
fn frames_that_come_together_are_received_one_by_one() {
    let (mut ours, mut theirs) = pair();
    let mut bytes = Vec::new();
    let lengths = [1, 1000, 3, 1021, 5000, MAX_FRAME, 2];
    for (n, length) in lengths.iter().enumerate() {
        bytes.extend(u32::try_from(*length).unwrap().to_be_bytes());
        bytes.extend(vec![n as u8; *length]);
    }
    std::thread::spawn(move || theirs.write_all(&bytes).unwrap());
    for (n, length) in lengths.iter().enumerate() {
        let frame = ours.receive(SOON).unwrap();
        assert!(frame.bytes() == vec![n as u8; *length], "frame {n}");
    }
    assert!(!ours.is_ahead());
    assert_eq!(ours.receive(SOON).err(), Some(Broken::Closed));
}

/// The stream itself is silent then, so a front end that waits for it would wait in vain.
#[test]
fn nobody_waits_for_a_frame_that_has_been_read_already() {
    let notice = FromHelper::Notice("touch".into()).encode().unwrap();
    let verdict = FromHelper::Verdict(Verdict { outcome: Outcome::Accepted, text: String::new() }).encode().unwrap();
    let whole =
        |frame: &Secret| [&u32::try_from(frame.bytes().len()).unwrap().to_be_bytes()[..], frame.bytes()].concat();
    for (together, expected) in [(true, Outcome::Accepted), (false, Outcome::NoInteraction)] {
        let (mut ours, mut theirs) = pair();
        theirs.write_all(&whole(&notice)).unwrap();
        if together {
            theirs.write_all(&whole(&verdict)).unwrap();
        }
        let request = Request::Verify(Login::at("alice", "su"));
        let said = converse(&mut ours, request, &mut Script { leaves: true, ..Script::default() }).unwrap();
        assert_eq!(said.outcome, expected);
    }
}

#[test]
fn a_frame_over_the_limit_is_not_sent() {
    let (mut ours, _theirs) = pair();
    let length = MAX_FRAME + 1;
    assert_eq!(ours.send(&Secret::zeroed(length), SOON), Err(Broken::Length(length as u32)));
}

#[test]
fn a_helper_of_other_versions_only_is_not_spoken_to() {
    for (oldest, newest, expected) in
        [(1, 1, Ok(())), (1, 9, Ok(())), (2, 9, Err(Broken::Version)), (0, 0, Err(Broken::Version))]
    {
        let (mut ours, theirs) = pair();
        let hello = FromHelper::Hello(Hello { oldest, newest });
        Channel::new(theirs).send(&hello.encode().unwrap(), SOON).unwrap();
        assert_eq!(greet(&mut ours, SOON), expected, "{oldest}..{newest}");
    }
}

#[test]
fn a_verdict_before_the_hello_is_nothing() {
    let (mut ours, theirs) = pair();
    let verdict = FromHelper::Verdict(Verdict { outcome: Outcome::Accepted, text: String::new() });
    Channel::new(theirs).send(&verdict.encode().unwrap(), SOON).unwrap();
    assert_eq!(greet(&mut ours, SOON), Err(Broken::OutOfTurn));
}

/// A prompter that keeps what it is shown and gives prepared answers.
#[derive(Default)]
struct Script {
    answers: Vec<&'static str>,
    shown: Vec<String>,
    /// The person gives up after a notice, if nothing comes.
    leaves: bool,
}

impl Prompter for Script {
    fn ask(&mut self, echo: bool, text: &str) -> Result<Secret, Cancelled> {
        self.shown.push(format!("ask {echo} {text}"));
        self.answers.pop().map(|answer| Secret::copy_of(answer.as_bytes())).ok_or(Cancelled::ByUser)
    }
    fn tell(&mut self, text: &str) {
        self.shown.push(format!("tell {text}"));
    }
    fn device(&mut self, device: &Device) {
        self.shown.push(format!("device {}", device.user));
    }
    fn status(&mut self, status: &Status) {
        self.shown.push(format!("status {}", status.user));
    }
    fn report(&mut self, text: &str) {
        self.shown.push(format!("report {text}"));
    }
    fn recovery_codes(&mut self, codes: &[Secret]) {
        self.shown.extend(codes.iter().map(|code| format!("recovery code {}", code.text().unwrap())));
    }
    fn remembered(&mut self, login: &Remembered) {
        self.shown.push(format!("remembered {}", login.id));
    }
    fn notice(&mut self, text: &str) {
        self.shown.push(format!("notice {text}"));
    }
    fn is_left(&mut self, _: &UnixStream) -> bool {
        self.leaves
    }
    fn sign(&mut self, key: &[u8], message: &[u8]) -> Result<Secret, Cancelled> {
        self.shown.push(format!("sign {key:?} {message:?}"));
        Ok(Secret::copy_of(b"signature"))
    }
}

/// Plays the helper: sends `messages` one after the other, reading a reply after each Ask.
fn helper(stream: UnixStream, messages: Vec<FromHelper>) -> std::thread::JoinHandle<Vec<&'static str>> {
    std::thread::spawn(move || {
        let mut channel = Channel::new(stream);
        let mut heard = vec![kind(&ToHelper::decode(&channel.receive(SOON).unwrap()).unwrap())];
        for message in messages {
            channel.send(&message.encode().unwrap(), SOON).unwrap();
            if matches!(message, FromHelper::Ask { .. } | FromHelper::Sign { .. }) {
                heard.push(kind(&ToHelper::decode(&channel.receive(SOON).unwrap()).unwrap()));
            }
        }
        heard
    })
}

fn kind(message: &ToHelper) -> &'static str {
    match message {
        ToHelper::Request(_) => "request",
        ToHelper::Answer(_) => "answer",
        ToHelper::Cancel(Cancelled::ByUser) => "cancelled by user",
        ToHelper::Cancel(_) => "cancelled",
    }
}

fn ask(text: &str) -> FromHelper {
    FromHelper::Ask { echo: true, text: Secret::copy_of(text.as_bytes()) }
}

#[test]
fn the_loop_relays_in_order_until_the_verdict() {
    let (mut ours, theirs) = pair();
    let verdict = Verdict { outcome: Outcome::Refused, text: "no".into() };
    let codes = ["aaaa", "bbbb"].map(|code| Secret::copy_of(code.as_bytes())).into();
    let script = vec![
        FromHelper::Tell("one".into()),
        ask("two"),
        FromHelper::RecoveryCodes(codes),
        FromHelper::Notice("touch".into()),
        FromHelper::Sign { key: vec![1, 2], message: vec![3] },
        ask("three"),
        FromHelper::Verdict(verdict.clone()),
    ];
    let helper = helper(theirs, script);
    let mut prompter = Script { answers: vec!["492039"], ..Script::default() };
    assert_eq!(converse(&mut ours, Request::Verb(Verb::List), &mut prompter), Ok(verdict));
    assert_eq!(
        prompter.shown,
        [
            "tell one",
            "ask true two",
            "recovery code aaaa",
            "recovery code bbbb",
            "notice touch",
            "sign [1, 2] [3]",
            "ask true three"
        ]
    );
    assert_eq!(helper.join().unwrap(), ["request", "answer", "answer", "cancelled by user"]);
}

#[test]
fn no_verdict_is_an_error_not_a_success() {
    let (mut ours, theirs) = pair();
    let helper = helper(theirs, vec![ask("code")]);
    let mut prompter = Script { answers: vec!["492039"], ..Script::default() };
    assert_eq!(converse(&mut ours, Request::Verb(Verb::List), &mut prompter), Err(Broken::Closed));
    helper.join().unwrap();
}

fn name() -> impl Strategy<Value = String> {
    "\\PC{0,64}"
}

fn login() -> impl Strategy<Value = Login> {
    let place = || proptest::option::of("\\PC{0,200}");
    (name(), name(), place(), place(), proptest::option::of(name()), (place(), place(), place()), any::<bool>())
        .prop_map(|(user, service, rhost, tty, ruser, (ssh_auth_info, ssh_auth_sock, program), stack_complete)| Login {
            user,
            service,
            rhost,
            tty,
            ruser,
            ssh_auth_info,
            stack_complete,
            ssh_auth_sock,
            program,
        })
}

fn request() -> impl Strategy<Value = Request> {
    let someone = || proptest::option::of(name());
    prop_oneof![
        login().prop_map(Request::Verify),
        login().prop_map(Request::Test),
        login().prop_map(Request::Session),
        (login(), prop_oneof![Just(AuthHook::NotRun), Just(AuthHook::Ignored)])
            .prop_map(|(login, auth)| Request::Account(login, auth)),
        (someone(), someone(), any::<bool>()).prop_map(|(user, label, invited)| Request::Verb(Verb::Totp {
            user,
            label,
            invited
        })),
        (name(), someone()).prop_map(|(user, label)| Request::Verb(Verb::TotpPending { user, label })),
        name().prop_map(|user| Request::Verb(Verb::Confirm { user })),
        name().prop_map(|user| Request::Verb(Verb::CancelPending { user })),
        (someone(), someone()).prop_map(|(user, device)| Request::Verb(Verb::Disable { user, device })),
        someone().prop_map(|user| Request::Verb(Verb::Status { user })),
        Just(Request::Verb(Verb::List)),
        Just(Request::Verb(Verb::Doctor)),
        (someone(), any::<bool>()).prop_map(|(group, missing)| Request::Verb(Verb::ListOf { group, missing })),
        someone().prop_map(|user| Request::Verb(Verb::RecoveryCodes { user })),
        name().prop_map(|user| Request::Verb(Verb::Unlock { user })),
        (someone(), someone()).prop_map(|(user, label)| Request::Verb(Verb::Replace { user, label })),
        (name(), someone()).prop_map(|(user, label)| Request::Verb(Verb::ReplacePending { user, label })),
        (name(), any::<u64>()).prop_map(|(user, seconds)| Request::Verb(Verb::Bypass { user, seconds })),
        name().prop_map(|user| Request::Verb(Verb::Resync { user })),
        (someone(), someone()).prop_map(|(user, revoke)| Request::Verb(Verb::Tickets { user, revoke })),
        (new_key(), any::<bool>()).prop_map(|(key, invited)| Request::Verb(Verb::U2f { key, invited })),
        new_key().prop_map(|key| Request::Verb(Verb::ReplaceU2f(key))),
        (name(), name(), someone(), name()).prop_map(|(user, format, origin, lines)| Request::Verb(Verb::Import {
            user,
            format,
            origin,
            lines
        })),
        (name(), name()).prop_map(|(old, new)| Request::Verb(Verb::Rename { old, new })),
        required().prop_map(|required| Request::Verb(Verb::Require(required))),
        required().prop_map(|required| Request::Verb(Verb::Unrequire(required))),
        Just(Request::Verb(Verb::ConfirmRequired)),
        name().prop_map(|user| Request::Verb(Verb::Invite { user })),
        Just(Request::Verb(Verb::PolicyCheck)),
        (name(), name(), someone(), someone()).prop_map(|(user, service, rhost, ssh_key)| {
            Request::Verb(Verb::PolicyExplain { user, service, rhost, ssh_key })
        }),
    ]
}

fn required() -> impl Strategy<Value = Required> {
    let someone = || proptest::option::of(name());
    let who_and_where = (someone(), someone(), someone());
    let except = proptest::collection::vec(name(), 0..3);
    (who_and_where, someone(), someone(), any::<Option<u64>>(), except).prop_map(
        |((user, group, service), kinds, deadline, on_trial, except)| Required {
            user,
            group,
            service,
            kinds,
            deadline,
            on_trial,
            except,
        },
    )
}

/// A verb that is not made at random is not tried.
#[test]
fn every_verb_is_among_the_random_requests() {
    let table = include_str!("../src/message.rs").split_once("choice! { Verb,").unwrap().1;
    let rows = table.lines().take_while(|line| *line != "}").filter_map(|row| row.split_once("=> "));
    let verbs: BTreeSet<&str> = rows.filter_map(|(_, row)| row.split([' ', '(']).next()).collect();
    assert!(verbs.len() > 20, "{verbs:?}");
    let mut runner = proptest::test_runner::TestRunner::default();
    let drawn: BTreeSet<String> = (0..4000)
        .filter_map(|_| match request().new_tree(&mut runner).unwrap().current() {
            Request::Verb(verb) => Some(format!("{verb:?}")),
            _ => None,
        })
        .filter_map(|verb| verb.split([' ', '(']).next().map(str::to_owned))
        .collect();
    assert_eq!(drawn, verbs.iter().map(ToString::to_string).collect());
}

fn new_key() -> impl Strategy<Value = NewKey> {
    let someone = || proptest::option::of(name());
    (someone(), someone(), someone()).prop_map(|(user, label, ssh_key)| NewKey { user, label, ssh_key })
}

fn status() -> impl Strategy<Value = Status> {
    let device = (name(), name(), any::<u64>(), name(), any::<Option<u64>>()).prop_map(
        |(id, label, created, created_from, last_used)| DeviceStatus { id, label, created, created_from, last_used },
    );
    let devices = proptest::collection::vec(device, 0..4);
    let kind = proptest::option::of(name());
    let time = any::<Option<u64>>;
    let account = prop_oneof![Just(Account::There), Just(Account::Gone), Just(Account::Unknown)];
    let services = || proptest::collection::vec(name(), 0..4);
    let binds = (services(), proptest::option::of(name()));
    let standing = (account, any::<bool>(), any::<bool>(), services(), binds);
    (name(), kind, standing, devices, any::<u32>(), time(), time()).prop_map(
        |(
            user,
            kind,
            (account, pending, required, required_at, (binds_at, not_known)),
            devices,
            recovery_codes_left,
            locked_until,
            bypass_until,
        )| Status {
            user,
            kind,
            pending,
            required,
            devices,
            recovery_codes_left,
            locked_until,
            bypass_until,
            account,
            required_at,
            binds_at,
            not_known,
        },
    )
}

fn remembered() -> impl Strategy<Value = Remembered> {
    (name(), name(), name(), proptest::option::of(name()), any::<u64>(), any::<u64>())
        .prop_map(|(id, service, place, key, made, expires)| Remembered { id, service, place, key, made, expires })
}

proptest! {
    #[test]
    fn any_remembered_login_comes_back_as_it_was(login in remembered()) {
        match FromHelper::decode(&FromHelper::Remembered(login.clone()).encode().unwrap()).unwrap() {
            FromHelper::Remembered(back) => prop_assert_eq!(back, login),
            _ => prop_assert!(false),
        }
    }

    #[test]
    fn any_request_comes_back_as_it_was(request in request()) {
        let frame = ToHelper::Request(request.clone()).encode().unwrap();
        match ToHelper::decode(&frame).unwrap() {
            ToHelper::Request(back) => prop_assert_eq!(back, request),
            _ => prop_assert!(false),
        }
    }

    #[test]
    fn any_status_comes_back_as_it_was(status in status()) {
        match FromHelper::decode(&FromHelper::Status(status.clone()).encode().unwrap()).unwrap() {
            FromHelper::Status(back) => prop_assert_eq!(back, status),
            _ => prop_assert!(false),
        }
    }

    #[test]
    fn any_answer_within_the_limit_comes_back_as_it_was(answer in proptest::collection::vec(any::<u8>(), 0..256)) {
        match ToHelper::decode(&ToHelper::Answer(Secret::copy_of(&answer)).encode().unwrap()).unwrap() {
            ToHelper::Answer(back) => prop_assert_eq!(back.bytes(), &answer),
            _ => prop_assert!(false),
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_and_mean_one_thing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let frame = Secret::copy_of(&bytes);
        if let Ok(message) = ToHelper::decode(&frame) {
            let again = message.encode().unwrap();
            prop_assert_eq!(again.bytes(), &bytes);
        }
        if let Ok(message) = FromHelper::decode(&frame) {
            let again = message.encode().unwrap();
            prop_assert_eq!(again.bytes(), &bytes);
        }
    }

    #[test]
    fn a_request_cut_anywhere_is_refused(request in request(), cut in any::<proptest::sample::Index>()) {
        let frame = ToHelper::Request(request).encode().unwrap();
        let cut = cut.index(frame.bytes().len());
        prop_assert!(ToHelper::decode(&Secret::copy_of(&frame.bytes()[..cut])).is_err());
    }
}

/// A front end and a helper of the same version may be of two builds: the bytes are those of `docs/wire.md`.
#[test]
fn the_number_of_a_verb_says_whether_it_is_by_invitation() {
    let totp = |invited| Verb::Totp { user: None, label: None, invited };
    let u2f = |invited| Verb::U2f { key: NewKey::default(), invited };
    for (verb, bytes) in [
        (totp(false), &[0x10, 1, 3, 1, 0, 0][..]),
        (totp(true), &[0x10, 1, 3, 22, 0, 0]),
        (u2f(false), &[0x10, 1, 3, 24, 0, 0, 0]),
        (u2f(true), &[0x10, 1, 3, 26, 0, 0, 0]),
    ] {
        let request = Request::Verb(verb);
        assert_eq!(ToHelper::Request(request.clone()).encode().unwrap().bytes(), bytes, "{request:?}");
        match ToHelper::decode(&Secret::copy_of(bytes)).unwrap() {
            ToHelper::Request(back) => assert_eq!(back, request),
            _ => panic!("{bytes:?}"),
        }
    }
}

#[test]
fn a_field_over_its_limit_is_not_encoded() {
    let long = |n| "x".repeat(n);
    assert_eq!(ToHelper::Answer(Secret::zeroed(257)).encode().err(), Some(Malformed::TooLong));
    assert!(ToHelper::Request(Request::Verb(Verb::Confirm { user: long(256) })).encode().is_ok());
    let over = ToHelper::Request(Request::Verb(Verb::Confirm { user: long(257) }));
    assert_eq!(over.encode().err(), Some(Malformed::TooLong));
    assert_eq!(FromHelper::Tell(long(12 * 1024 + 1)).encode().err(), Some(Malformed::TooLong));
}

#[test]
fn no_flipped_bit_turns_one_outcome_into_another() {
    let outcome = |n: u32| {
        let mut frame = vec![0x25];
        frame.extend(n.to_be_bytes());
        frame.extend([0, 0]);
        match FromHelper::decode(&Secret::copy_of(&frame)) {
            Ok(FromHelper::Verdict(verdict)) => Some(verdict.outcome),
            _ => None,
        }
    };
    let accepted = Outcome::Accepted as u32;
    assert_eq!(outcome(accepted), Some(Outcome::Accepted));
    for a in 0..32 {
        for b in 0..32 {
            let flipped = accepted ^ ((1 << a) | (1 << b));
            assert!(outcome(flipped).is_none(), "bits {a} and {b}");
        }
    }
}
