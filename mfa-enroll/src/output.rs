//! The output for scripts and people: messages on stderr, data on stdout, as text or as JSON.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::process::ExitCode;

use mfa_wire::{Account, Device, DeviceStatus, Remembered, Secret, Status, printable, readable, utc};
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::finding::Finding;
use crate::screen::padded;
use crate::texts::{Lang, Text};

/// The most characters of a text from outside that are shown.
const LONGEST: usize = 4096;

/// `text` from outside, made safe to show: nothing in it steers the terminal. Quotes and backslashes stay as they
/// are, because these lines are for reading.
pub(crate) fn shown(text: &str) -> String {
    text.split_inclusive(['"', '\\'])
        .map(|part| match part.strip_suffix(['"', '\\']) {
            Some(head) => printable(head, LONGEST) + &part[head.len()..],
            None => printable(part, LONGEST),
        })
        .collect()
}

/// Writes `text` to stderr.
pub(crate) fn say(text: &str) {
    for line in text.lines() {
        let _ = writeln!(io::stderr(), "{}", shown(line));
    }
}

/// Writes an error to stderr, with our name.
pub(crate) fn complain(text: &str, exit: Exit) -> Exit {
    let _ = writeln!(io::stderr(), "mfa-enroll: {}", text.lines().map(shown).collect::<Vec<_>>().join("\n  "));
    exit
}

/// Prints the error in the command line, or the requested help. clap repeats typed text unchanged, which may come
/// from a script, so it is made safe here.
pub(crate) fn of_the_command_line(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let text = readable(&text);
    let written = match error.use_stderr() {
        true => io::stderr().write_all(text.as_bytes()),
        false => io::stdout().write_all(text.as_bytes()),
    };
    match written {
        Ok(()) => u8::try_from(error.exit_code()).map_or(Exit::Usage.into(), ExitCode::from),
        Err(_) => Exit::Unavailable.into(),
    }
}

/// The form of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One user, a line for each thing.
    Lines,
    /// One user, a JSON object.
    Object,
    /// One line for each user.
    Table,
    /// A JSON array of users.
    Array,
    /// Nothing: the helper's reports are written in place of it.
    Nothing,
}

/// The data output. Each user is written at once, so that a hundred thousand users need no memory.
pub(crate) struct Report<W> {
    out: W,
    form: Form,
    /// Only for the lines; tables and JSON are English.
    lang: Lang,
    count: usize,
    /// The reason why the data could not be written; after it nothing more is written.
    failed: Option<io::Error>,
}

/// Standard output. Rows for a person come one by one; for a program the first ones do, and then larger pieces.
pub(crate) struct Data {
    out: BufWriter<Stdout>,
    terminal: bool,
    /// So many pieces are still written at once.
    at_once: usize,
}

impl Data {
    pub(crate) fn new() -> Data {
        let out = io::stdout();
        Data { terminal: out.is_terminal(), out: BufWriter::with_capacity(1 << 16, out), at_once: 8 }
    }
}

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if self.terminal || self.at_once > 0 {
            self.at_once = self.at_once.saturating_sub(1);
            self.out.flush()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Report<Data> {
    /// Whether a person sees it come.
    pub(crate) fn is_on_terminal(&self) -> bool {
        self.out.terminal
    }
}

impl<W: Write> Report<W> {
    pub(crate) fn new(out: W, form: Form, lang: Lang) -> Self {
        Report { out, form, lang, count: 0, failed: None }
    }

    /// Writes one user's status.
    pub(crate) fn add(&mut self, status: &Status) {
        let text = match self.form {
            Form::Lines => lines(status, self.lang),
            Form::Object => object(status) + "\n",
            Form::Table => table_row(status),
            Form::Array => object(status),
            Form::Nothing => String::new(),
        };
        self.item(TABLE_HEAD, &text);
    }

    /// Writes one remembered login.
    pub(crate) fn add_remembered(&mut self, login: &Remembered) {
        let text = if self.form == Form::Array { remembered_object(login) } else { remembered_row(login) };
        self.item(REMEMBERED_HEAD, &text);
    }

    fn item(&mut self, table_head: &str, text: &str) {
        let head = match (self.form, self.count) {
            (Form::Array, 0) => "[\n",
            (Form::Array, _) => ",\n",
            (Form::Table, 0) => table_head,
            _ => "",
        };
        self.write(head);
        self.count += 1;
        self.write(text);
    }

    /// Writes data that is complete in itself, made safe for a terminal. For JSON this changes nothing, because it
    /// has no such characters.
    pub(crate) fn write(&mut self, text: &str) {
        if self.failed.is_none() {
            self.failed = self.out.write_all(readable(text).as_bytes()).err();
        }
    }

    /// Completes the output, and says whether it was written. If this is not called, the closing bracket is missing,
    /// so that no reader takes a part for the whole.
    pub(crate) fn end(&mut self) -> io::Result<usize> {
        match (self.form, self.count) {
            (Form::Array, 0) => self.write("[]\n"),
            (Form::Array, _) => self.write("\n]\n"),
            _ => {}
        }
        match self.failed.take() {
            Some(e) => Err(e),
            None => self.out.flush().map(|()| self.count),
        }
    }
}

/// The findings of `doctor`, as lines or as a JSON array. The second ones are ignored: as lines, only their number is
/// told.
pub(crate) fn findings(mut out: impl Write, told: &[Finding], ignored: &[Finding], json: bool) -> io::Result<()> {
    if json {
        let told = told.iter().map(|finding| finding_object(finding, false));
        let objects: Vec<String> = told.chain(ignored.iter().map(|finding| finding_object(finding, true))).collect();
        let (open, close) = if objects.is_empty() { ("[", "]\n") } else { ("[\n", "\n]\n") };
        write!(out, "{open}{}{close}", objects.join(",\n"))?;
    } else {
        for Finding { grave, id, place, what, remedy, .. } in told {
            let [id, place, what, remedy] = [id, place, what, remedy].map(|text| shown(text));
            writeln!(out, "{}: {id}: {place}\n  {what}\n    {remedy}", severity(*grave))?;
        }
        let mut counts = BTreeMap::new();
        ignored.iter().for_each(|finding| *counts.entry(&finding.id).or_insert(0) += 1);
        for (id, count) in counts {
            writeln!(out, "ignored: {} ({count})", shown(id))?;
        }
    }
    out.flush()
}

fn finding_object(finding: &Finding, ignored: bool) -> String {
    let Finding { grave, id, place, what, remedy, names } = finding;
    let names: Vec<String> = names.iter().map(|name| string(name)).collect();
    format!(
        "{{\"id\":{},\"severity\":{},\"where\":{},\"what\":{},\"remedy\":{},\"names\":[{}],\"ignored\":{ignored}}}",
        string(id),
        string(severity(*grave)),
        string(place),
        string(what),
        string(remedy),
        names.join(","),
    )
}

fn severity(grave: bool) -> &'static str {
    if grave { "error" } else { "warning" }
}

fn lines(status: &Status, lang: Lang) -> String {
    let mut lines = String::new();
    let mut line = |name, value: &str| lines.push_str(&format!("{} {}\n", padded(&lang.say(name), 15), shown(value)));
    match status.account {
        Account::Gone => line(Text::User, &lang.say(Text::NoAccount(&status.user))),
        _ => line(Text::User, &status.user),
    }
    let kind = match status.kind.as_deref() {
        None => lang.say(Text::None),
        Some("totp") => lang.say(Text::App),
        Some("u2f") => lang.say(Text::SecurityKey),
        Some(other) => other.to_owned(),
    };
    line(Text::Device, &kind);
    for device in &status.devices {
        line(Text::Id, &device.id);
        if !device.label.is_empty() {
            line(Text::Label, &device.label);
        }
        line(Text::Bound, &lang.say(Text::BoundFrom(&utc(device.created), &device.created_from)));
        line(Text::LastUsed, &device.last_used.map_or_else(|| lang.say(Text::Never), utc));
    }
    line(Text::Pending, &lang.say(if status.pending { Text::ToBeConfirmed } else { Text::No }));
    line(Text::Required, &lang.say(if status.required { Text::Yes } else { Text::No }));
    line(Text::RecoveryCodes, &lang.say(Text::Left(status.recovery_codes_left)));
    if let Some(until) = status.bypass_until {
        line(Text::BypassCode, &lang.say(Text::GoodUntil(&utc(until))));
    }
    line(Text::Locked, &status.locked_until.map_or_else(|| lang.say(Text::No), |t| lang.say(Text::Until(&utc(t)))));
    lines
}

/// A time in a table, to the minute.
fn minute(time: u64) -> String {
    utc(time)[..16].replace('T', " ") + "Z"
}

const REMEMBERED_HEAD: &str = "ID        UNTIL              KEY  SERVICE     FROM\n";

fn remembered_row(login: &Remembered) -> String {
    let key = if login.key.is_some() { "yes" } else { "no" };
    // The boot of an audit session tells a person nothing.
    let place = match login.place.strip_prefix("session:").and_then(|session| session.split(':').next()) {
        Some(number) => format!("audit session {number}"),
        None => login.place.clone(),
    };
    let (id, until) = (shown(&login.id), minute(login.expires));
    format!("{id:<9} {until:<18} {key:<4} {:<11} {}\n", shown(&login.service), shown(&place))
}

fn remembered_object(login: &Remembered) -> String {
    format!(
        "{{\"id\":{},\"service\":{},\"from\":{},\"key\":{},\"made\":{},\"expires\":{}}}",
        string(&login.id),
        string(&login.service),
        string(&login.place),
        login.key.as_deref().map_or("null".into(), string),
        time(Some(login.made)),
        time(Some(login.expires)),
    )
}

const TABLE_HEAD: &str = "USER             DEVICE   REQUIRED  BOUND              LAST USED          LOCKED\n";

fn table_row(status: &Status) -> String {
    let earliest = status.devices.iter().map(|d| d.created).min();
    let latest = status.devices.iter().filter_map(|d| d.last_used).max();
    let row = format!(
        "{:<16} {:<8} {:<9} {:<18} {:<18} {}",
        shown(&status.user),
        status.kind.as_deref().map_or_else(|| if status.pending { "pending".into() } else { "-".into() }, shown),
        match (status.account, status.required) {
            // Nothing is asked of it: nobody can log in under that name.
            (Account::Gone, _) => "gone",
            (_, true) => "yes",
            (_, false) => "no",
        },
        earliest.map_or("-".into(), minute),
        latest.map_or("-".into(), minute),
        if status.locked_until.is_some() { "yes" } else { "no" },
    );
    row + "\n"
}

fn account(account: Account) -> &'static str {
    match account {
        Account::There => "there",
        Account::Gone => "gone",
        Account::Unknown => "unknown",
    }
}

fn object(status: &Status) -> String {
    let services = |names: &[String]| names.iter().map(|service| string(service)).collect::<Vec<_>>().join(",");
    // Of those alone who were asked for by `--missing`.
    let at = match status.required_at.as_slice() {
        [] => String::new(),
        at => format!(
            ",\"required_at\":[{}],\"binds_at\":[{}],\"not_known\":{}",
            services(at),
            services(&status.binds_at),
            status.not_known.as_deref().map_or("null".into(), string)
        ),
    };
    let devices: Vec<String> = status.devices.iter().map(device_object).collect();
    format!(
        "{{\"user\":{},\"account\":{},\"kind\":{},\"pending\":{},\"required\":{},\"devices\":[{}],\"recovery_codes_left\":{},\
         \"bypass_until\":{},\"locked_until\":{}{at}}}",
        string(&status.user),
        string(account(status.account)),
        status.kind.as_deref().map_or("null".into(), string),
        status.pending,
        status.required,
        devices.join(","),
        status.recovery_codes_left,
        time(status.bypass_until),
        time(status.locked_until),
    )
}

fn device_object(device: &DeviceStatus) -> String {
    format!(
        "{{\"id\":{},\"label\":{},\"created\":{},\"created_from\":{},\"last_used\":{}}}",
        string(&device.id),
        string(&device.label),
        time(Some(device.created)),
        string(&device.created_from),
        time(device.last_used),
    )
}

/// A pending device, for the program or person that passes it to its user.
pub(crate) fn pending_object(device: &Device) -> Secret {
    let parts = [
        "{\"user\":",
        &string(&device.user),
        ",\"secret\":",
        &secret_string(&device.key),
        ",\"uri\":",
        &secret_string(&device.uri),
        ",\"expires\":",
        &time(device.expires),
        "}\n",
    ];
    in_one_piece(&parts)
}

/// New recovery codes, for the program or person that passes them to their user.
pub(crate) fn recovery_object(user: &str, codes: &[Secret]) -> Secret {
    let user = string(user);
    let codes: Vec<_> = codes.iter().map(secret_string).collect();
    let mut parts = vec!["{\"user\":", &user, ",\"recovery_codes\":["];
    for (n, code) in codes.iter().enumerate() {
        parts.extend([if n == 0 { "" } else { "," }, code.as_str()]);
    }
    parts.push("]}\n");
    in_one_piece(&parts)
}

fn secret_string(secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(string(secret.text().unwrap_or_default()))
}

/// One text from all parts, in one allocation, so that wiping it leaves no copy.
fn in_one_piece(parts: &[&str]) -> Secret {
    let mut text = Secret::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        let _fits = text.append(part.as_bytes());
    }
    text
}

fn time(seconds: Option<u64>) -> String {
    seconds.map_or("null".into(), |t| string(&utc(t)))
}

/// A JSON string. All characters except printable ASCII are escaped, so that it is the same in every locale and
/// steers no terminal.
fn string(text: &str) -> String {
    // A byte becomes at most six, so the buffer is never reallocated, and wiping it leaves no copy.
    let mut out = String::with_capacity(6 * text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Status {
        Status {
            user: "alice".into(),
            kind: Some("totp".into()),
            pending: false,
            required: true,
            devices: vec![DeviceStatus {
                id: "7f3a".into(),
                label: "my \"phone\"".into(),
                created: 1_795_300_800,
                created_from: "10.0.0.5".into(),
                last_used: None,
            }],
            recovery_codes_left: 9,
            locked_until: Some(1_795_300_860),
            bypass_until: Some(1_795_304_400),
            account: Account::There,
            required_at: Vec::new(),
            binds_at: Vec::new(),
            not_known: None,
        }
    }

    fn bob() -> Status {
        Status {
            user: "bob".into(),
            kind: None,
            pending: true,
            required: false,
            devices: Vec::new(),
            recovery_codes_left: 0,
            locked_until: None,
            bypass_until: None,
            account: Account::Gone,
            required_at: vec!["*".into(), "sshd".into()],
            binds_at: vec!["sshd".into()],
            not_known: Some("a \"key\"".into()),
        }
    }

    fn report(form: Form, of: &[Status]) -> String {
        let mut report = Report::new(Vec::new(), form, Lang::English);
        of.iter().for_each(|status| report.add(status));
        report.end().unwrap();
        String::from_utf8(report.out).unwrap()
    }

    #[test]
    fn the_keys_of_a_standing_are_the_documented_ones_in_their_order() {
        assert_eq!(
            report(Form::Object, &[alice()]),
            "{\"user\":\"alice\",\"account\":\"there\",\"kind\":\"totp\",\"pending\":false,\"required\":true,\"devices\":[{\"id\":\"7f3a\",\
             \"label\":\"my \\\"phone\\\"\",\"created\":\"2026-11-21T22:40:00Z\",\"created_from\":\"10.0.0.5\",\
             \"last_used\":null}],\"recovery_codes_left\":9,\"bypass_until\":\"2026-11-21T23:40:00Z\",\
             \"locked_until\":\"2026-11-21T22:41:00Z\"}\n"
        );
        assert_eq!(
            report(Form::Object, &[bob()]),
            "{\"user\":\"bob\",\"account\":\"gone\",\"kind\":null,\"pending\":true,\"required\":false,\"devices\":[],\
             \"recovery_codes_left\":0,\"bypass_until\":null,\"locked_until\":null,\"required_at\":[\"*\",\"sshd\"],\
             \"binds_at\":[\"sshd\"],\"not_known\":\"a \\\"key\\\"\"}\n"
        );
    }

    #[test]
    fn a_finding_reads_well_and_its_keys_are_the_documented_ones() {
        let finding = Finding {
            grave: true,
            id: "an-id".into(),
            place: "/etc/x:1".into(),
            what: "say \"no\"\u{1b}".into(),
            remedy: "printf 'a\\n' >/etc/x".into(),
            names: vec!["x".into(), "y\"".into()],
        };
        let of = |found: &[Finding], ignored: &[Finding], json| {
            let mut out = Vec::new();
            findings(&mut out, found, ignored, json).unwrap();
            String::from_utf8(out).unwrap()
        };
        let written = |found: &[Finding], json| of(found, &[], json);
        let lines = "error: an-id: /etc/x:1\n  say \"no\"\\u{1b}\n    printf 'a\\n' >/etc/x\n";
        assert_eq!(written(std::slice::from_ref(&finding), false), lines);
        let json = of(std::slice::from_ref(&finding), std::slice::from_ref(&finding), true);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let object = |ignored: bool| {
            serde_json::json!({"id": "an-id", "severity": "error", "where": "/etc/x:1", "what": "say \"no\"\u{1b}",
                "remedy": "printf 'a\\n' >/etc/x", "names": ["x", "y\""], "ignored": ignored})
        };
        assert_eq!(value, serde_json::json!([object(false), object(true)]));
        let other = Finding { id: "z".into(), ..finding.clone() };
        let ignored = [finding.clone(), other, finding];
        assert_eq!(of(&[], &ignored, false), "ignored: an-id (2)\nignored: z (1)\n", "a grave one too");
        assert_eq!((written(&[], false).as_str(), written(&[], true).as_str()), ("", "[]\n"));
    }

    #[test]
    fn an_array_is_json_however_many_are_in_it() {
        for n in 0..4 {
            let all = vec![alice(); n];
            let value: serde_json::Value = serde_json::from_str(&report(Form::Array, &all)).unwrap();
            assert_eq!(value.as_array().unwrap().len(), n);
        }
    }

    #[test]
    fn a_report_that_broke_off_is_no_json() {
        let mut report = Report::new(Vec::new(), Form::Array, Lang::English);
        report.add(&alice());
        assert!(serde_json::from_slice::<serde_json::Value>(&report.out).is_err());
    }

    #[test]
    fn a_full_disk_is_noticed() {
        let mut disk = [0u8; 8];
        let mut report = Report::new(&mut disk[..], Form::Array, Lang::English);
        report.add(&alice());
        assert!(report.end().is_err());
    }

    #[test]
    fn any_text_survives_as_a_json_string_and_steers_nothing() {
        let nasty = "\"\\/\0\x08\t\n\x1b[31m\x7f\u{9b}é日\u{202e}\u{2028}😀";
        let json = string(nasty);
        assert!(json.chars().all(|c| (' '..='~').contains(&c)), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), nasty);
    }

    #[test]
    fn a_pending_device_has_the_documented_keys() {
        let device = Device {
            user: "alice".into(),
            issuer: "web1".into(),
            key: Secret::copy_of(b"JBSWY3DPEHPK3PXP"),
            uri: Secret::copy_of(b"otpauth://totp/web1:alice?secret=JBSWY3DPEHPK3PXP&issuer=web1"),
            algorithm: "SHA1".into(),
            digits: 6,
            period: 30,
            expires: Some(1_795_300_800),
        };
        assert_eq!(
            pending_object(&device).text().unwrap(),
            "{\"user\":\"alice\",\"secret\":\"JBSWY3DPEHPK3PXP\",\
             \"uri\":\"otpauth://totp/web1:alice?secret=JBSWY3DPEHPK3PXP&issuer=web1\",\
             \"expires\":\"2026-11-21T22:40:00Z\"}\n"
        );
    }

    #[test]
    fn recovery_codes_have_the_documented_keys() {
        let codes = ["abcd-efgh-ijkl-mnop", "\"\u{1b}"].map(|code| Secret::copy_of(code.as_bytes()));
        let object = recovery_object("alice", &codes);
        assert_eq!(
            object.text().unwrap(),
            "{\"user\":\"alice\",\"recovery_codes\":[\"abcd-efgh-ijkl-mnop\",\"\\\"\\u001b\"]}\n"
        );
        assert_eq!(recovery_object("alice", &[]).text().unwrap(), "{\"user\":\"alice\",\"recovery_codes\":[]}\n");
    }

    #[test]
    fn a_table_fits_80_columns() {
        let table = report(Form::Table, &[alice(), bob()]);
        assert_eq!(
            table,
            "USER             DEVICE   REQUIRED  BOUND              LAST USED          LOCKED\n\
             alice            totp     yes       2026-11-21 22:40Z  -                  yes\n\
             bob              pending  gone      -                  -                  no\n"
        );
        assert!(table.lines().all(|line| line.len() <= 80));
    }

    fn remembered(form: Form, logins: &[Remembered]) -> String {
        let mut report = Report::new(Vec::new(), form, Lang::English);
        logins.iter().for_each(|login| report.add_remembered(login));
        report.end().unwrap();
        String::from_utf8(report.out).unwrap()
    }

    #[test]
    fn remembered_logins_have_the_documented_columns_and_keys() {
        let ssh = Remembered {
            id: "3f2a9c01".into(),
            service: "sshd".into(),
            place: "2001:db8::1".into(),
            key: Some("SHA256:BwcH".into()),
            made: 1_795_300_800,
            expires: 1_795_329_600,
        };
        let place = "session:4711:0a7c7b2a-b4d1-4e76-acdd-b5661d6c0ad0".into();
        let sudo = Remembered { id: "00b1e2d3".into(), service: "sudo".into(), place, key: None, ..ssh.clone() };
        assert_eq!(
            remembered(Form::Table, &[ssh.clone(), sudo.clone()]),
            "ID        UNTIL              KEY  SERVICE     FROM\n\
             3f2a9c01  2026-11-22 06:40Z  yes  sshd        2001:db8::1\n\
             00b1e2d3  2026-11-22 06:40Z  no   sudo        audit session 4711\n"
        );
        assert_eq!(
            remembered(Form::Array, &[ssh, sudo]),
            "[\n{\"id\":\"3f2a9c01\",\"service\":\"sshd\",\"from\":\"2001:db8::1\",\"key\":\"SHA256:BwcH\",\
             \"made\":\"2026-11-21T22:40:00Z\",\"expires\":\"2026-11-22T06:40:00Z\"},\n\
             {\"id\":\"00b1e2d3\",\"service\":\"sudo\",\"from\":\"session:4711:0a7c7b2a-b4d1-4e76-acdd-b5661d6c0ad0\",\
             \"key\":null,\"made\":\"2026-11-21T22:40:00Z\",\"expires\":\"2026-11-22T06:40:00Z\"}\n]\n"
        );
        assert_eq!((remembered(Form::Table, &[]), remembered(Form::Array, &[])), (String::new(), "[]\n".into()));
    }

    #[test]
    fn a_standing_reads_well() {
        assert_eq!(
            report(Form::Lines, &[alice()]),
            "user            alice\n\
             device          totp (authenticator app)\n\
             \x20 id            7f3a\n\
             \x20 label         my \"phone\"\n\
             \x20 bound         2026-11-21T22:40:00Z from 10.0.0.5\n\
             \x20 last used     never\n\
             pending         no\n\
             required        yes\n\
             recovery codes  9 left\n\
             bypass code     good once, until 2026-11-21T23:40:00Z\n\
             locked          until 2026-11-21T22:41:00Z\n"
        );
    }

    #[test]
    fn an_account_that_is_gone_is_said_to_be() {
        let first = report(Form::Lines, &[bob()]).lines().next().map(str::to_owned);
        assert_eq!(first.as_deref(), Some("user            bob: no account has this name any more"));
        let unknown = Status { account: Account::Unknown, ..alice() };
        assert!(report(Form::Table, &[unknown]).contains(" yes "), "a name service that fails says nothing");
    }

    #[test]
    fn text_from_outside_steers_no_terminal_and_keeps_its_quotes() {
        assert_eq!(shown("no user \"bo\\b\x1b[2J\" "), "no user \"bo\\b\\u{1b}[2J\" ");
        assert_eq!(shown("\"\""), "\"\"");
    }
}
