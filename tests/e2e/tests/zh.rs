//! A host that speaks Chinese: what people read is Chinese where it does no harm, and no client is left outside for it.
#![allow(missing_docs, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::LazyLock;

use common::{BIND_NOW, CODE, Door, FIRST, Person, bind_on, typed_off};
use e2e::{Machine, Screen, Terminal, Theme, oath::Codes};

/// `lang = "zh_CN"`, and clients of all kinds.
static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let machine = common::enabled(Machine::build().debian_packages("locales,dropbear-bin").package().boot());
    machine.sh_ok("localedef -i en_US -f ISO-8859-1 en_US.ISO-8859-1; localedef -i zh_CN -f UTF-8 zh_CN.UTF-8");
    common::policy_file(&machine, "/etc/mfa/mfa.toml", "lang = \"zh_CN\"\n");
    machine
});

const BIND_NOW_ZH: &str = "MFA is required. 请现在绑定身份验证器应用。";
const FIRST_ZH: &str = "First verification code 验证码 (或 key, qr, invert, ascii, new): ";
const SECOND_ZH: &str = "Second verification code 应用接下来显示的验证码: ";
const WRITTEN_ZH: &str = "Type ok 全部抄好之后请输入 ok: ";
const CODE_ZH: &str = "Verification code 一次性验证码: ";

fn is_chinese(text: &str) -> bool {
    text.contains(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}

/// The key below the Chinese head, as a person types it off.
#[track_caller]
fn typed_off_zh(screen: &Screen) -> String {
    let text = screen.text();
    let line = text.lines().rev().find_map(|line| line.split_once("密钥: ").or(line.split_once("  密钥    ")));
    let (_, groups) = line.unwrap_or_else(|| panic!("no key:\n{screen}"));
    groups.split_whitespace().take(8).collect()
}

/// Knocks and gives the right password, up to the Chinese page.
#[track_caller]
fn up_to_the_chinese_page(door: Door, who: &Person) -> Terminal {
    let mut t = door.knock(who);
    t.wait_for(&door.password_prompt(who));
    t.type_line(&who.password);
    t.wait_for(BIND_NOW_ZH);
    t.wait_for(FIRST_ZH);
    t
}

/// Binds at that page, and gives the code that is good next.
#[track_caller]
fn bind_in_chinese(who: &Person, t: &mut Terminal) -> String {
    let screen = t.screen();
    let uri = screen.decode_qr(Theme::Dark).unwrap_or_else(|| panic!("no QR code for a scanner:\n{screen}"));
    let key = typed_off_zh(&screen);
    assert_eq!(uri, format!("otpauth://totp/web1:{}?secret={key}&issuer=web1", who.name));
    assert!(screen.text().contains(BIND_NOW_ZH), "the first line has left the screen:\n{screen}");
    who.keep_secret(&key);

    // A pair that is none is told in Chinese, because there is another try.
    t.type_line("000000");
    t.wait_for(SECOND_ZH);
    t.type_line("000000");
    t.wait_for("两个验证码属于同一个 30 秒: 请等下一个出现。");
    t.wait_for(FIRST_ZH);
    assert_eq!(t.screen().decode_qr(Theme::Dark), Some(uri), "the notice has displaced the picture");

    let codes = Codes::now(&key);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for(SECOND_ZH);
    t.type_line(&codes.present);
    t.wait_for("登录后生效。恢复码只显示一次:");
    let page = t.wait_for(WRITTEN_ZH);
    let is_code = |word: &&str| word.len() == 19 && word.split('-').all(|part| part.len() == 4);
    let recovery: Vec<&str> = page.split_whitespace().filter(is_code).collect();
    assert_eq!(recovery.len(), 10, "{page}");
    recovery.iter().for_each(|code| who.keep_secret(code));
    t.type_line("ok");
    codes.next
}

#[test]
fn binding_in_ssh_is_chinese_and_what_comes_at_every_login_is_ascii() {
    let who = Person::required(&MACHINE, "mei", "");
    let mut t = up_to_the_chinese_page(Door::Ssh, &who);
    let next = bind_in_chinese(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    assert_eq!(who.devices(), 1);

    let mut t = Door::Ssh.up_to_the_code(&who);
    t.type_line("no code");
    t.wait_for("That is not a code of 6 digits.");
    t.wait_for(CODE);
    t.type_line("no code");
    t.wait_for(&Door::Ssh.refusal(&who));
    assert!(t.raw().is_ascii(), "{}", t.screen());
    drop(t);

    // What runs here takes it: the first prompts after the binding say when it was.
    let mut t = Door::Sudo.knock(&who);
    t.wait_for(&Door::Sudo.password_prompt(&who));
    t.type_line(&who.password);
    let notice = t.wait_for(CODE_ZH);
    assert!(notice.contains("此设备于 ") && notice.contains("前从 ::1 绑定。\n"), "{notice}");
    t.type_line("no code");
    t.wait_for("这不是 6 位数字的验证码。");
    t.wait_for(CODE_ZH);
    t.type_line("no code");
    let refused = t.wait_for(&Door::Sudo.refusal(&who));
    assert!(refused.contains("That is not a code of 6 digits.") && refused.is_ascii(), "{refused}");
    t.wait_for(&Door::Sudo.password_prompt(&who));
    t.type_line(&who.password);
    t.wait_for(CODE_ZH);
    t.type_line(&next);
    Door::Sudo.is_open(&who, &mut t);
}

#[test]
fn sudo_su_and_login_bind_and_ask_in_chinese() {
    for (door, name) in [(Door::Sudo, "ling"), (Door::Su, "jun"), (Door::Login, "hua")] {
        let who = Person::required(&MACHINE, name, "");
        let mut t = up_to_the_chinese_page(door, &who);
        // Typed in place of a code, there and here.
        t.type_line("key");
        t.wait_for("密钥类型选“基于时间”:");
        t.wait_for(FIRST_ZH);
        let key = typed_off_zh(&t.screen());
        t.type_line("qr");
        t.wait_for(FIRST_ZH);
        assert_eq!(typed_off_zh(&t.screen()), key);
        let next = bind_in_chinese(&who, &mut t);
        door.is_open(&who, &mut t);

        let mut t = door.knock(&who);
        t.wait_for(&door.password_prompt(&who));
        t.type_line(&who.password);
        t.wait_for(CODE_ZH);
        t.type_line(&next);
        door.is_open(&who, &mut t);
    }
}

/// The refusals of both phases, at a door that shows Chinese and at one that does not.
#[test]
fn every_refusal_is_ascii() {
    let who = Person::required(&MACHINE, "tao", "");
    for door in [Door::Ssh, Door::Su] {
        let mut t = up_to_the_chinese_page(door, &who);
        t.type_line("new");
        for _ in 0..3 {
            t.wait_for(FIRST_ZH);
            t.type_line("000000");
            t.wait_for(SECOND_ZH);
            t.type_line("111111");
        }
        let refused = t.wait_for(door.turned_away());
        let said = "Neither code belongs to this key: scan it, or type it, again.";
        assert!(refused.contains(said) && refused.is_ascii(), "{refused}");
        drop(t);
        MACHINE.sh_ok("mfa-enroll cancel --user tao");
    }
    let who = Person::required(&MACHINE, "wei", "enroll = \"by-admin\"");
    for door in [Door::Ssh, Door::Sudo] {
        let mut t = door.knock(&who);
        t.wait_for(&door.password_prompt(&who));
        t.type_line(&who.password);
        t.wait_for("MFA is required of wei and no device is bound.");
        t.wait_for(&door.refusal(&who));
        assert!(t.raw().is_ascii(), "{}", t.screen());
    }
}

/// A login by the client of OpenSSH in this locale, with the right password.
fn in_the_locale(locale: &str, who: &Person) -> Terminal {
    let command = format!("exec ssh -o PreferredAuthentications=keyboard-interactive {}@localhost", who.name);
    let mut t = MACHINE.terminal().user("visitor").env("LC_ALL", locale).run(&command);
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t
}

/// It writes four characters for each byte: the key is a word away, and all that follows can be read.
#[test]
fn a_client_in_the_c_locale_binds_and_comes_in() {
    let who = Person::required(&MACHINE, "otto", "");
    let mut t = in_the_locale("C", &who);
    t.wait_for("MFA is required. \\350");
    t.wait_for("key, qr, invert, ascii, new): ");
    t.type_line("key");
    let page = t.wait_for(FIRST);
    assert!(page.contains(BIND_NOW) && page.is_ascii() && !page.contains('\\'), "{page}");
    let next = bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);

    let mut t = in_the_locale("C", &who);
    t.wait_for(CODE);
    t.type_line(&next);
    Door::Ssh.is_open(&who, &mut t);
    assert!(!t.text().contains('\\'), "{}", t.screen());
}

/// It dies of the picture, as it does where English is spoken, and of nothing that comes after.
#[test]
fn a_client_in_a_locale_of_eight_bits_binds_at_the_second_try_and_comes_in() {
    let who = Person::required(&MACHINE, "bruno", "");
    let mut t = in_the_locale("en_US.ISO-8859-1", &who);
    t.wait_for("asmprintf failed");
    assert_eq!(t.exit_code(), 255);
    who.logged(&["event=account", "verdict=no-interaction"]);

    let mut t = in_the_locale("en_US.ISO-8859-1", &who);
    let page = t.wait_for(FIRST);
    assert!(page.contains(BIND_NOW) && page.contains(" from ::1; type new for a new key."), "{page}");
    // A wrong pair must not bring back what it dies of.
    t.type_line("000000");
    t.wait_for(common::SECOND);
    t.type_line("000000");
    t.wait_for("Both codes are from the same 30 seconds: wait for the next one.");
    t.wait_for(FIRST);
    let next = bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);

    let mut t = in_the_locale("en_US.ISO-8859-1", &who);
    let notice = t.wait_for(CODE);
    assert!(notice.contains("This device was bound ") && t.raw().is_ascii(), "{notice}");
    t.type_line(&next);
    Door::Ssh.is_open(&who, &mut t);
}

/// dbclient drops what is not ASCII: what may be typed is left of the question.
#[test]
fn dropbears_client_binds_and_comes_in() {
    let who = Person::required(&MACHINE, "dora", "");
    let knock = || {
        let mut t = MACHINE.terminal().user("visitor").run("exec dbclient -y -y dora@localhost");
        t.wait_for("Password: ");
        t.type_line(&who.password);
        t
    };
    let mut t = knock();
    t.wait_for("key, qr, invert, ascii, new): ");
    t.type_line("key");
    t.wait_for(FIRST);
    let key = typed_off(&t.screen());
    assert!(!is_chinese(t.text()) && t.text().contains(&key[..4]));
    let next = bind_on(&who, &mut t);
    Door::Ssh.is_open(&who, &mut t);
    let mut t = knock();
    t.wait_for(CODE);
    t.type_line(&next);
    Door::Ssh.is_open(&who, &mut t);
}

/// `mfa-enroll` goes by the locale of who calls it; what the helper asks in it goes by the host.
#[test]
fn a_user_binds_by_mfa_enroll_in_chinese() {
    let who = Person::new(&MACHINE, "xia");
    let sit_down = |locale: &str, arguments: &str| {
        let command = format!("mfa-enroll {arguments}; echo \"exit $?\"; read go_on");
        MACHINE.terminal().user("xia").env("LC_ALL", locale).run(&command)
    };
    let mut t = sit_down("zh_CN.UTF-8", "totp");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    t.wait_for("First verification code 第一个验证码 (应用将在 ");
    let screen = t.screen();
    let uri = screen.decode_qr(Theme::Dark).unwrap_or_else(|| panic!("no QR code for a scanner:\n{screen}"));
    let (_, rest) = uri.split_once("?secret=").expect("a key");
    let key = rest.split('&').next().unwrap_or_default();
    assert!(screen.text().contains("用身份验证器应用扫描此二维码"), "{screen}");
    who.keep_secret(key);
    let codes = Codes::now(key);
    who.keep_codes(&codes);
    t.type_line(&codes.previous);
    t.wait_for("Second verification code 第二个验证码 (");
    t.type_line(&codes.present);
    t.wait_for(WRITTEN_ZH);
    assert!(t.screen().text().contains("恢复码只显示这一次"), "{}", t.screen());
    t.type_line("ok");
    t.wait_for("xia 的设备已绑定。从下次登录起将要求输入其验证码。");
    t.wait_for("exit 0\n");

    let mut t = sit_down("zh_CN.UTF-8", "status");
    t.wait_for("设备            totp (身份验证器应用)\n");
    t.wait_for("恢复码          还剩 10 个\n");
    t.wait_for("exit 0\n");
    let mut t = sit_down("C", "status");
    t.wait_for("device          totp (authenticator app)\n");
    t.wait_for("exit 0\n");
    assert!(t.raw().is_ascii(), "{}", t.screen());
    let mut t = sit_down("zh_CN.UTF-8", "totp");
    t.wait_for("Password: ");
    t.type_line(&who.password);
    let refused = t.wait_for("exit 4\n");
    assert!(refused.contains("xia has a device already.") && refused.is_ascii(), "{refused}");
    Door::Ssh.lets_in(&who, &codes.next);
}
