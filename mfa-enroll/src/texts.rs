//! The texts for a person in a dialogue, in every language. Errors are English, so that they can be searched for.

/// A language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Lang {
    #[default]
    English,
    /// Simplified Chinese.
    Chinese,
}

/// One text with its values.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    /// Above the fields: with a picture and without, at length and in short.
    ScanOrType,
    Type,
    ScanOrTypeShort,
    TypeShort,
    /// The names of the fields, and the value of one.
    Issuer,
    Account,
    Kind,
    TimeBased,
    Digits,
    Period,
    Hash,
    Key,
    /// Below the fields.
    ThenTwoCodes,
    CtrlC,
    LightTerminal,
    /// Why there is no picture: the size that it needs, and the size of the window.
    TooLong,
    TooSmall(&'a str, &'a str),
    Enlarge,
    /// After a question: the seconds left.
    ShowsItNow(u64),
    ShowsNewIn(u64),
    SecondsLeft(u64),

    /// Above recovery codes.
    EachOnce,
    ShownOnlyNow,
    /// How many codes do not fit, the size that they need, and the size of the window.
    TooSmallForCodes(usize, &'a str, &'a str),

    /// An offer and a question for a user who has nothing bound.
    OrAKey,
    BindNow,

    /// How to sign with a key that is plugged in elsewhere: above and below a command.
    SignElsewhere,
    PasteSignature,
    /// What a login by this service would do.
    WouldLetIn(&'a str),
    WouldNotAsk(&'a str),

    /// The names and values of a status.
    User,
    NoAccount(&'a str),
    Device,
    None,
    App,
    SecurityKey,
    Id,
    Label,
    Bound,
    /// When, and from where.
    BoundFrom(&'a str, &'a str),
    LastUsed,
    Never,
    Pending,
    ToBeConfirmed,
    Required,
    Yes,
    No,
    RecoveryCodes,
    Left(u32),
    BypassCode,
    GoodUntil(&'a str),
    Locked,
    Until(&'a str),
}

impl Lang {
    /// The language of these locales. Each category is taken from the first variable that is set. The kernel's own
    /// console has no Chinese characters.
    pub(crate) fn of(messages: &str, shows_utf8: bool, term: &str) -> Lang {
        let chinese = ["zh_CN", "zh_SG", "zh_Hans"].iter().any(|name| messages.starts_with(name));
        if chinese && shows_utf8 && term != "linux" { Lang::Chinese } else { Lang::English }
    }

    pub(crate) fn say(self, text: Text) -> String {
        match self {
            Lang::English => english(text),
            Lang::Chinese => chinese(text),
        }
    }
}

fn english(text: Text) -> String {
    match text {
        Text::ScanOrType => "Scan this code with an authenticator app, or type into the app:".into(),
        Text::Type => "Type into an authenticator app:".into(),
        Text::ScanOrTypeShort => "Scan or type into an app:".into(),
        Text::TypeShort => "Type into an app:".into(),
        Text::Issuer => "issuer".into(),
        Text::Account => "account".into(),
        Text::Kind => "type".into(),
        Text::TimeBased => "time-based".into(),
        Text::Digits => "digits".into(),
        Text::Period => "period".into(),
        Text::Hash => "hash".into(),
        Text::Key => "key".into(),
        Text::ThenTwoCodes => "Then enter two codes in a row: the one that the app shows, and the next one.".into(),
        Text::CtrlC => "Ctrl-C leaves; nothing is bound then.".into(),
        Text::LightTerminal => "On a light terminal, start again with --invert.".into(),
        Text::TooLong => "The address is too long for a QR code: type the key.".into(),
        Text::TooSmall(needs, has) => {
            format!("Your window is too small for the QR code: it needs {needs} and has {has}.")
        }
        Text::Enlarge => "Enlarge it, or type the key.".into(),
        Text::ShowsItNow(left) => format!("(the app shows it now; {left} s left)"),
        Text::ShowsNewIn(left) => format!("(the app shows a new one in {left} s)"),
        Text::SecondsLeft(left) => format!("({left} s)"),

        Text::EachOnce => "Each of these recovery codes lets you in once, when the device is lost.".into(),
        Text::ShownOnlyNow => "They are shown only now: keep them where the device is not.".into(),
        Text::TooSmallForCodes(count, needs, has) => format!(
            "Your window is too small for {count} recovery codes: it needs {needs} and has {has}. Enlarge it to see them."
        ),

        Text::OrAKey => "A security key is bound by: mfa-enroll u2f".into(),
        Text::SignElsewhere => "Where the security key is plugged in, run:".into(),
        Text::PasteSignature => "Paste here what it prints, to its END line; Ctrl-C leaves:".into(),
        Text::BindNow => "Bind an authenticator app now? [Y/n] ".into(),
        Text::WouldLetIn(service) => format!("That is right: {service} would let you in."),
        Text::WouldNotAsk(service) => format!("{service} asks no second factor of you."),

        Text::User => "user".into(),
        Text::NoAccount(user) => format!("{user}: no account has this name any more"),
        Text::Device => "device".into(),
        Text::None => "none".into(),
        Text::App => "totp (authenticator app)".into(),
        Text::SecurityKey => "u2f (security key)".into(),
        Text::Id => "  id".into(),
        Text::Label => "  label".into(),
        Text::Bound => "  bound".into(),
        Text::BoundFrom(when, from) => format!("{when} from {from}"),
        Text::LastUsed => "  last used".into(),
        Text::Never => "never".into(),
        Text::Pending => "pending".into(),
        Text::ToBeConfirmed => "yes, to be confirmed".into(),
        Text::Required => "required".into(),
        Text::Yes => "yes".into(),
        Text::No => "no".into(),
        Text::RecoveryCodes => "recovery codes".into(),
        Text::Left(left) => format!("{left} left"),
        Text::BypassCode => "bypass code".into(),
        Text::GoodUntil(when) => format!("good once, until {when}"),
        Text::Locked => "locked".into(),
        Text::Until(when) => format!("until {when}"),
    }
}

fn chinese(text: Text) -> String {
    match text {
        Text::ScanOrType => "用身份验证器应用扫描此二维码, 或在应用中输入:".into(),
        Text::Type => "在身份验证器应用中输入:".into(),
        Text::ScanOrTypeShort => "扫描, 或在应用中输入:".into(),
        Text::TypeShort => "在应用中输入:".into(),
        Text::Issuer => "发行方".into(),
        Text::Account => "账户".into(),
        Text::Kind => "类型".into(),
        Text::TimeBased => "基于时间".into(),
        Text::Digits => "位数".into(),
        Text::Period => "周期".into(),
        Text::Hash => "哈希".into(),
        Text::Key => "密钥".into(),
        Text::ThenTwoCodes => "然后输入两个连续的验证码: 应用当前显示的那个, 以及接下来的那个。".into(),
        Text::CtrlC => "按 Ctrl-C 退出, 此时不会绑定任何设备。".into(),
        Text::LightTerminal => "如果终端是浅色背景, 请加上 --invert 重新开始。".into(),
        Text::TooLong => "地址太长, 无法生成二维码: 请手动输入密钥。".into(),
        Text::TooSmall(needs, has) => format!("窗口太小, 放不下二维码: 需要 {needs}, 现为 {has}。"),
        Text::Enlarge => "请放大窗口, 或手动输入密钥。".into(),
        Text::ShowsItNow(left) => format!("(应用正在显示; 还剩 {left} 秒)"),
        Text::ShowsNewIn(left) => format!("(应用将在 {left} 秒后更新)"),
        Text::SecondsLeft(left) => format!("({left} 秒)"),

        Text::EachOnce => "设备丢失时, 每个恢复码可代替验证码登录一次。".into(),
        Text::ShownOnlyNow => "恢复码只显示这一次: 请抄下来, 不要和设备放在一起。".into(),
        Text::TooSmallForCodes(count, needs, has) => {
            format!("窗口太小, 放不下 {count} 个恢复码: 需要 {needs}, 现为 {has}。 请放大窗口。")
        }

        Text::OrAKey => "绑定安全密钥请用: mfa-enroll u2f".into(),
        Text::SignElsewhere => "请在插着安全密钥的机器上运行:".into(),
        Text::PasteSignature => "请把它的输出粘贴到这里, 直到 END 一行; 按 Ctrl-C 退出:".into(),
        Text::BindNow => "现在绑定身份验证器应用吗? [Y/n] ".into(),
        Text::WouldLetIn(service) => format!("验证通过: {service} 会允许您登录。"),
        Text::WouldNotAsk(service) => format!("{service} 不要求您提供第二因素。"),

        Text::User => "用户".into(),
        Text::NoAccount(user) => format!("{user}: 已没有此名称的账户"),
        Text::Device => "设备".into(),
        Text::None => "无".into(),
        Text::App => "totp (身份验证器应用)".into(),
        Text::SecurityKey => "u2f (安全密钥)".into(),
        Text::Id => "  编号".into(),
        Text::Label => "  标签".into(),
        Text::Bound => "  绑定于".into(),
        Text::BoundFrom(when, from) => format!("{when}, 来自 {from}"),
        Text::LastUsed => "  上次使用".into(),
        Text::Never => "从未".into(),
        Text::Pending => "待确认".into(),
        Text::ToBeConfirmed => "是, 等待确认".into(),
        Text::Required => "必须使用".into(),
        Text::Yes => "是".into(),
        Text::No => "否".into(),
        Text::RecoveryCodes => "恢复码".into(),
        Text::Left(left) => format!("还剩 {left} 个"),
        Text::BypassCode => "临时放行码".into(),
        Text::GoodUntil(when) => format!("可用一次, 有效期至 {when}"),
        Text::Locked => "锁定".into(),
        Text::Until(when) => format!("至 {when}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::screen::columns;

    const WHEN: &str = "2026-11-21T22:40:00Z";

    /// An example of the text that follows this one in the order above. The `match` makes the compiler ask for an
    /// example of every new text.
    fn next(text: Text<'static>) -> Option<Text<'static>> {
        Some(match text {
            Text::ScanOrType => Text::Type,
            Text::Type => Text::ScanOrTypeShort,
            Text::ScanOrTypeShort => Text::TypeShort,
            Text::TypeShort => Text::Issuer,
            Text::Issuer => Text::Account,
            Text::Account => Text::Kind,
            Text::Kind => Text::TimeBased,
            Text::TimeBased => Text::Digits,
            Text::Digits => Text::Period,
            Text::Period => Text::Hash,
            Text::Hash => Text::Key,
            Text::Key => Text::ThenTwoCodes,
            Text::ThenTwoCodes => Text::CtrlC,
            Text::CtrlC => Text::LightTerminal,
            Text::LightTerminal => Text::TooLong,
            Text::TooLong => Text::TooSmall("59x19", "80x18"),
            Text::TooSmall(..) => Text::Enlarge,
            Text::Enlarge => Text::ShowsItNow(17),
            Text::ShowsItNow(_) => Text::ShowsNewIn(17),
            Text::ShowsNewIn(_) => Text::SecondsLeft(17),
            Text::SecondsLeft(_) => Text::EachOnce,
            Text::EachOnce => Text::ShownOnlyNow,
            Text::ShownOnlyNow => Text::TooSmallForCodes(10, "80x17", "80x10"),
            Text::TooSmallForCodes(..) => Text::OrAKey,
            Text::OrAKey => Text::BindNow,
            Text::BindNow => Text::SignElsewhere,
            Text::SignElsewhere => Text::PasteSignature,
            Text::PasteSignature => Text::WouldLetIn("sshd9"),
            Text::WouldLetIn(_) => Text::WouldNotAsk("sshd9"),
            Text::WouldNotAsk(_) => Text::User,
            Text::User => Text::NoAccount("bob"),
            Text::NoAccount(_) => Text::Device,
            Text::Device => Text::None,
            Text::None => Text::App,
            Text::App => Text::SecurityKey,
            Text::SecurityKey => Text::Id,
            Text::Id => Text::Label,
            Text::Label => Text::Bound,
            Text::Bound => Text::BoundFrom(WHEN, "192.0.2.1"),
            Text::BoundFrom(..) => Text::LastUsed,
            Text::LastUsed => Text::Never,
            Text::Never => Text::Pending,
            Text::Pending => Text::ToBeConfirmed,
            Text::ToBeConfirmed => Text::Required,
            Text::Required => Text::Yes,
            Text::Yes => Text::No,
            Text::No => Text::RecoveryCodes,
            Text::RecoveryCodes => Text::Left(9),
            Text::Left(_) => Text::BypassCode,
            Text::BypassCode => Text::GoodUntil(WHEN),
            Text::GoodUntil(_) => Text::Locked,
            Text::Locked => Text::Until(WHEN),
            Text::Until(_) => return None,
        })
    }

    /// Numbers, times and names.
    fn values(text: &str) -> BTreeSet<&str> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ":.-".contains(c)));
        words.map(|word| word.trim_matches([':', '.'])).filter(|w| w.contains(|c: char| c.is_ascii_digit())).collect()
    }

    #[test]
    fn every_text_says_the_same_in_both_languages() {
        let all: Vec<Text> = std::iter::successors(Some(Text::ScanOrType), |text| next(*text)).collect();
        assert!(all.len() > 40);
        for text in all {
            let (english, chinese) = (Lang::English.say(text), Lang::Chinese.say(text));
            assert_eq!(values(&english), values(&chinese));
            assert!(english.is_ascii() && !chinese.is_ascii(), "{text:?}: {chinese}");
            // Questions, heads of fields, indented lines.
            assert_eq!(english.ends_with(' '), chinese.ends_with(' '), "{text:?}");
            assert_eq!(english.starts_with("  "), chinese.starts_with("  "), "{text:?}");
            for said in [english, chinese] {
                assert!(!said.chars().any(char::is_control), "{said}");
                let said = said.to_lowercase();
                assert!(!["password", "passcode", "密码", "口令"].iter().any(|word| said.contains(word)), "{said}");
            }
            let name = matches!(text, Text::Issuer | Text::Account | Text::Kind | Text::Digits | Text::Period);
            assert!(!name || columns(&Lang::Chinese.say(text)) <= 7, "{text:?}");
        }
    }

    #[test]
    fn chinese_is_for_who_asks_for_it_and_can_see_it() {
        for (messages, shows_utf8, term, lang) in [
            ("zh_CN.UTF-8", true, "xterm-256color", Lang::Chinese),
            ("zh_Hans_CN.UTF-8", true, "xterm", Lang::Chinese),
            ("zh_CN.GB18030", false, "xterm", Lang::English),
            ("zh_TW.UTF-8", true, "xterm", Lang::English),
            ("zh_CN.UTF-8", true, "linux", Lang::English),
            ("de_DE.UTF-8", true, "xterm", Lang::English),
            ("", true, "xterm", Lang::English),
        ] {
            assert_eq!(Lang::of(messages, shows_utf8, term), lang, "{messages} {term}");
        }
    }
}
