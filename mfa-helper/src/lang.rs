//! The texts before and beside a prompt, in every language. A refusal is always English and ASCII: ssh escapes all
//! other characters in it. `docs/decisions/0020-languages.md` says which language is used where.

use mfa_core::pair::{PairError, Which};
use mfa_core::totp::Parameters;
use mfa_wire::{Login, printable, shell_word};
use serde::Deserialize;

/// A language, as `mfa.toml` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Lang {
    /// English.
    #[default]
    #[serde(rename = "en")]
    En,
    /// Chinese, simplified.
    #[serde(rename = "zh_CN")]
    ZhCn,
}

/// One text with its values.
#[derive(Clone, Copy)]
pub enum Text<'a> {
    /// The question for the code of a bound device.
    Code,
    /// The question for an invitation code.
    InvitationCode,
    /// The question for a user who has security keys, where no key can be asked.
    RecoveryCode,
    /// Why the code, or the recovery code, is asked for again. A code has this many digits.
    CodeUsed,
    NotACode(u8),
    RecoveryCodeUsed,
    NoRecoveryCode,
    /// The question for the PIN of a security key: how many tries are left, and its name, where there are several.
    Pin(Option<u32>, &'a str),
    /// What to do with the keys that are plugged in, or that no key is plugged in.
    Touch,
    TouchToChoose,
    PlugIn,
    /// The question in place of that.
    PlugInOrCode,
    NotBound,
    KeyIsSilent,
    KeyIsSlow,
    UnlockKey,
    KeyIsInUse,
    WrongFinger,
    /// While a new key is bound.
    PlugInNew,
    BoundAlready,
    /// The question which device to bind inside a login: an app, a key that is plugged in (if possible), or the key
    /// of the ssh login (its fingerprint, if there is one).
    WhichKind(bool, Option<&'a str>),
    /// The two questions when `mfa-enroll` binds a device.
    First,
    Second,
    /// The two questions when a login binds a device.
    FirstOrWish,
    SecondNext,
    /// The question below recovery codes.
    WrittenDown,

    /// The head of the page on which a login binds a device.
    BindNow,
    /// The person or place to ask for help.
    Help(&'a str),
    /// Above the values to type into an app, and the names of its fields.
    TypeThis,
    Issuer,
    Account,
    Codes,
    KeyField,
    /// The key, beside a picture that shows all the rest.
    Key,
    Form(Parameters),
    /// Above and below recovery codes.
    HereAreCodes,
    EachOnce,

    /// What is wrong with two codes, before they are asked for again.
    Pair(&'a PairError),
    /// By how many seconds the device's clock is ahead.
    SetClock(i64),
    /// Another login from the same place has begun: this many seconds ago, and from where.
    Begun(u64, &'a str),
    /// A login has bound a device and did not complete: this many seconds ago, and from where.
    Lapsed(u64, &'a str),
    /// A change, shown at the first login after it: this many seconds ago, and from where.
    News(News, u64, &'a str),
    /// Days until a device is required, and the verb that binds one.
    Deadline(u64, &'static str),

    /// After a success: recovery codes left, and whether the user can make new ones or has to ask; and whom.
    CodesLeft(u32, bool, Option<&'a str>),
    BypassUsed,
    BoundInLogin(&'a str),
    /// Whose device it is, and whether a login of this host asks for it.
    Bound(&'a str, bool),
    Replaced(&'a str),
    Unbound(&'a str),
    /// About security keys.
    KeyBoundInLogin(&'a str),
    KeyBound(&'a str, bool),
    /// How many keys are bound now.
    KeyAdded(usize),
    KeyRemoved(usize),
    KeyReplaced(&'a str),
    KeysUnbound(&'a str),
    CodesHold,
    /// How this user gets recovery codes, or root for this user.
    MakeCodesFor(&'a str),
}

/// What was changed since the last login.
#[derive(Clone, Copy)]
pub enum News {
    /// The device was bound, where there was none.
    Bound,
    /// The device was bound in place of another.
    TookThePlace,
    /// There are new recovery codes.
    CodesMade,
    /// There is one more security key.
    KeyAdded,
    /// There is one security key less.
    KeyRemoved,
}

impl Lang {
    /// The language for what `login` must show in every case. Behind sshd or another server there may be a client
    /// that fails at letters beyond ASCII, at every try. The kernel's consoles cannot draw Chinese.
    pub fn everywhere(self, login: &Login) -> Lang {
        let remote = login.came_by_sshd() || login.rhost.as_deref().is_some_and(|host| !host.is_empty());
        if remote { Lang::En } else { self.beside_a_picture(login) }
    }

    /// The language of a page with a picture. A client that fails at such letters fails at the picture too, and gets
    /// another page at the next try.
    pub fn beside_a_picture(self, login: &Login) -> Lang {
        let tty = login.tty.as_deref().unwrap_or_default();
        let tty = tty.strip_prefix("/dev/").unwrap_or(tty);
        if ["tty", "console", "hvc"].iter().any(|console| tty.starts_with(console)) { Lang::En } else { self }
    }

    /// `text` in this language. Names in it cannot steer a terminal.
    pub fn say(self, text: Text) -> String {
        match self {
            Lang::En => english(text),
            Lang::ZhCn => chinese(text),
        }
    }
}

fn english(text: Text) -> String {
    match text {
        Text::Code => "Verification code: ".into(),
        Text::InvitationCode => "Invitation ticket: ".into(),
        Text::RecoveryCode => "Verification code (a recovery code): ".into(),
        Text::CodeUsed => "That code was used already. Wait for the next one.".into(),
        Text::NotACode(digits) => format!("That is not a code of {digits} digits."),
        Text::RecoveryCodeUsed => "That recovery code was used already.".into(),
        Text::NoRecoveryCode => "That is not a recovery code.".into(),
        Text::Pin(None, label) => format!("PIN of the key{}: ", name_of_key(label)),
        Text::Pin(Some(1), label) => format!("PIN of the key{} (one try is left): ", name_of_key(label)),
        Text::Pin(Some(left), label) => format!("PIN of the key{} ({left} tries are left): ", name_of_key(label)),
        Text::Touch => "Touch your security key.".into(),
        Text::TouchToChoose => "Several keys blink: touch the one that you want to use.".into(),
        Text::KeyIsSilent => "The key does not answer: pull it out and plug it in again.".into(),
        Text::KeyIsSlow => "Your security key takes long to answer: leave it plugged in.".into(),
        Text::UnlockKey => "Your security key is locked: unlock it, and leave it plugged in.".into(),
        Text::KeyIsInUse => "Your security key is in use by another program: waiting for it.".into(),
        Text::WrongFinger => "The key did not know this finger: type its PIN.".into(),
        Text::BoundAlready => "The key that is plugged in is bound already: plug in another.".into(),
        Text::PlugIn => "Plug in your security key, and touch it when it blinks.".into(),
        Text::PlugInOrCode => PLUG_IN_OR_CODE.into(),
        Text::NotBound => "No key that is plugged in is bound to this account: plug in yours.".into(),
        Text::PlugInNew => "Plug in the key that is to be bound, and touch it when it blinks.".into(),
        Text::WhichKind(plugged, ssh) => english_which_kind(plugged, ssh),
        Text::First => "First verification code: ".into(),
        Text::Second => "Second verification code: ".into(),
        Text::FirstOrWish => "First verification code (or type key, qr, invert, ascii, new): ".into(),
        Text::SecondNext => "Second verification code, the next one that the app shows: ".into(),
        Text::WrittenDown => "Type ok when you have written them down: ".into(),

        Text::BindNow => "MFA is required: bind an authenticator app now.".into(),
        Text::Help(contact) => format!("  help    {contact}"),
        Text::TypeThis => "Type this into the app, as a time-based key:".into(),
        Text::Issuer => "  issuer  ".into(),
        Text::Account => "  account ".into(),
        Text::Codes => "  codes   ".into(),
        Text::KeyField => "  key    ".into(),
        Text::Key => "Key:".into(),
        Text::Form(Parameters { algorithm, digits, period }) => format!("{algorithm}, {digits} digits, {period} s"),
        Text::HereAreCodes => "Bound once this login opens. Recovery codes, shown only now:".into(),
        Text::EachOnce => "Each lets you in once, when the device is lost.".into(),

        Text::Pair(error) => english_pair(error),
        Text::SetClock(offset) => format!("The device's clock is {}: use automatic time.", apart(offset)),
        Text::Begun(ago, from) => {
            format!("Begun {} from {}; type new for a new key.", english_ago(ago), printable(from, 40))
        }
        Text::Lapsed(ago, from) => {
            format!("The device of {} from {} is void: that login did not open.", english_ago(ago), name(from))
        }
        Text::News(news, ago, from) => english_news(news, &english_ago(ago), &name(from)),
        Text::Deadline(days, verb) => english_deadline(days, verb),

        Text::CodesLeft(left, self_service, contact) => english_codes_left(left, self_service, contact),
        Text::BypassUsed => "That bypass code is used up now.".into(),
        Text::BoundInLogin(user) => {
            format!("Once this login opens, the device of {} is bound and its code asked.", name(user))
        }
        Text::Bound(user, asked) => english_bound("device", "its code", user, asked),
        Text::Replaced(user) => format!(
            "The new device of {} is bound.\nThe one before, and its recovery codes, are void.\n\
             Tell whoever shares the account.",
            name(user)
        ),
        Text::Unbound(user) => format!(
            "The device of {} is unbound and its key destroyed.\n\
             The entry in the app is of no use any more. Tell whoever shares the account.",
            name(user)
        ),
        Text::KeyBoundInLogin(user) => {
            format!("Once this login opens, the security key of {} is bound and asked.", name(user))
        }
        Text::KeyBound(user, asked) => english_bound("security key", "it", user, asked),
        Text::KeyAdded(keys) => format!("The security key is bound: any one of your {keys} is enough."),
        Text::KeyRemoved(1) => "The security key is unbound. One is left.".into(),
        Text::KeyRemoved(keys) => format!("The security key is unbound. {keys} are left."),
        Text::KeyReplaced(user) => format!(
            "The security key of {} is bound.\nWhat was bound before, and its recovery codes, are void.\n\
             Tell whoever shares the account.",
            name(user)
        ),
        Text::KeysUnbound(user) => {
            format!("No security key of {} is bound any more.\nTell whoever shares the account.", name(user))
        }
        Text::CodesHold => "These recovery codes hold; the ones before are void.".into(),
        Text::MakeCodesFor(user) => format!("Recovery codes: mfa-enroll recovery-codes --user {}", shell_word(user)),
    }
}

const PLUG_IN_OR_CODE: &str =
    "Plug in your security key, and press Enter. Without it:\nVerification code (a recovery code): ";

/// The name of a key in the question for its PIN.
fn name_of_key(label: &str) -> String {
    if label.is_empty() { String::new() } else { format!(" \"{}\"", printable(label, 24)) }
}

fn english_which_kind(plugged: bool, ssh: Option<&str>) -> String {
    let plugged = if plugged { "\n  key  a security key that you plug in here" } else { "" };
    let ssh = ssh.map_or(String::new(), |key| format!("\n  ssh  the security key of your ssh login,\n       {key}"));
    format!("MFA is required. What do you bind?\n  app  an authenticator app{plugged}{ssh}\nType its name: ")
}

fn english_news(news: News, ago: &str, from: &str) -> String {
    match news {
        News::Bound => format!("This device was bound {ago} from {from}."),
        News::TookThePlace => format!("This device took the place of another {ago} from {from}."),
        News::CodesMade => format!("New recovery codes were made {ago} from {from}."),
        News::KeyAdded => format!("A security key was added {ago} from {from}."),
        News::KeyRemoved => format!("A security key was removed {ago} from {from}."),
    }
}

fn english_deadline(days: u64, verb: &str) -> String {
    match days {
        1 => format!("MFA will be required of you from tomorrow on. Bind a device now: mfa-enroll {verb}"),
        days => format!("MFA will be required of you in {days} days. Bind a device by then: mfa-enroll {verb}"),
    }
}

fn english_bound(what: &str, it: &str, user: &str, asked: bool) -> String {
    match asked {
        true => format!("The {what} of {} is bound. From the next login on {it} is asked.", name(user)),
        false => format!("The {what} of {} is bound. No login on this host asks for {it} yet.", name(user)),
    }
}

fn english_codes_left(left: u32, self_service: bool, contact: Option<&str>) -> String {
    let left = match left {
        0 => String::from("No recovery code is left."),
        1 => String::from("One recovery code is left."),
        n => format!("{n} recovery codes are left."),
    };
    let new = match self_service {
        true => String::from("New ones: mfa-enroll recovery-codes"),
        false => format!("Ask {} for new ones.", contact.unwrap_or("an administrator")),
    };
    format!("{left} {new}")
}

fn english_pair(error: &PairError) -> String {
    match error {
        PairError::Form(which, digits) => {
            let which = match which {
                Which::First => "first",
                Which::Second => "second",
            };
            format!("The {which} code is not {digits} digits.")
        }
        PairError::Same(period) => format!("Both codes are from the same {period} seconds: wait for the next one."),
        PairError::Order => "The codes are in the wrong order: the older one comes first.".into(),
        PairError::Gap => "Both codes are right, but they do not follow each other: enter two in a row.".into(),
        PairError::Old(age) => {
            format!("These codes are {} old, or your clock is behind: use automatic time.", duration(*age))
        }
        PairError::Ahead(by) => {
            format!("The device's clock is {} ahead of this host's: use automatic time.", duration(*by))
        }
        PairError::SecondWrong => "The first code is right, the second is not.".into(),
        PairError::FirstWrong => "The second code is right, the first is not.".into(),
        PairError::Wrong => "Neither code belongs to this key: scan it, or type it, again.".into(),
        PairError::Ignored { made, given } => {
            format!("This app ignores {}: use another app.", ignored(made, given, "digits", "s"))
        }
    }
}

/// The parameters that the app was given and does not go by.
fn ignored(made: &Parameters, given: &Parameters, digits: &str, seconds: &str) -> String {
    let mut ignored = Vec::new();
    if made.algorithm != given.algorithm {
        ignored.push(given.algorithm.to_string());
    }
    if made.digits != given.digits {
        ignored.push(format!("{} {digits}", given.digits));
    }
    if made.period != given.period {
        ignored.push(format!("{} {seconds}", given.period));
    }
    ignored.join(", ")
}

/// How far the device's clock is from this host's, from the number of seconds between them.
pub fn apart(offset: i64) -> String {
    let side = if offset > 0 { "ahead of" } else { "behind" };
    format!("about {} {side} this host's", duration(offset.unsigned_abs()))
}

/// A duration in seconds as a person says it.
pub fn duration(n: u64) -> String {
    match (n / 3600, n / 60 % 60, n % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, 0) => format!("{m} min"),
        (0, m, s) => format!("{m} min {s} s"),
        (1, 0, _) => String::from("an hour"),
        (h, 0, _) => format!("{h} h"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// The time of day in UTC: users come from every time zone.
pub fn moment(time: u64) -> String {
    format!("{:02}:{:02}:{:02}", time / 3600 % 24, time / 60 % 60, time % 60)
}

fn english_ago(n: u64) -> String {
    if n == 0 { String::from("just now") } else { format!("{} ago", duration(n)) }
}

fn chinese_ago(n: u64) -> String {
    if n == 0 { String::from("刚刚") } else { format!("{}前", chinese_duration(n)) }
}

/// Questions and heads begin with their English words, which still tell the meaning where Chinese cannot be drawn.
fn chinese(text: Text) -> String {
    match text {
        Text::Code => "Verification code 一次性验证码: ".into(),
        Text::InvitationCode => "Invitation ticket 邀请码: ".into(),
        Text::RecoveryCode => "Verification code 验证码 (恢复码): ".into(),
        Text::CodeUsed => "该验证码已经用过。请等下一个出现。".into(),
        Text::NotACode(digits) => format!("这不是 {digits} 位数字的验证码。"),
        Text::RecoveryCodeUsed => "该恢复码已经用过。".into(),
        Text::NoRecoveryCode => "这不是恢复码。".into(),
        Text::Pin(None, label) => format!("PIN of the key 安全密钥{}的 PIN: ", name_of_key(label)),
        Text::Pin(Some(1), label) => format!("PIN of the key 安全密钥{}的 PIN (最后一次机会): ", name_of_key(label)),
        Text::Pin(Some(left), label) => {
            format!("PIN of the key 安全密钥{}的 PIN (还可试 {left} 次): ", name_of_key(label))
        }
        Text::Touch => "Touch your security key. 请触摸安全密钥。".into(),
        Text::TouchToChoose => "有多个密钥在闪烁: 请触摸要使用的那一个。".into(),
        Text::KeyIsSilent => "密钥没有回应: 请拔出后重新插入。".into(),
        Text::KeyIsSlow => "安全密钥响应较慢: 请不要拔出。".into(),
        Text::UnlockKey => "安全密钥已锁定: 请解锁, 不要拔出。".into(),
        Text::KeyIsInUse => "安全密钥正被其他程序使用: 正在等待。".into(),
        Text::WrongFinger => "未识别该指纹: 请输入密钥的 PIN。".into(),
        Text::BoundAlready => "已插入的密钥已经绑定: 请插入另一个。".into(),
        Text::PlugIn => "请插入安全密钥, 闪烁时触摸它。".into(),
        Text::PlugInOrCode => {
            "Plug in 请插入安全密钥, 然后按回车键。没有密钥时:\nVerification code 验证码 (恢复码): ".into()
        }
        Text::NotBound => "已插入的密钥都未绑定到此账户: 请插入您自己的。".into(),
        Text::PlugInNew => "请插入要绑定的密钥, 闪烁时触摸它。".into(),
        Text::WhichKind(plugged, ssh) => chinese_which_kind(plugged, ssh),
        Text::First => "First verification code 第一个验证码: ".into(),
        Text::Second => "Second verification code 第二个验证码: ".into(),
        Text::FirstOrWish => "First verification code 验证码 (或 key, qr, invert, ascii, new): ".into(),
        Text::SecondNext => "Second verification code 应用接下来显示的验证码: ".into(),
        Text::WrittenDown => "Type ok 全部抄好之后请输入 ok: ".into(),

        Text::BindNow => "MFA is required. 请现在绑定身份验证器应用。".into(),
        Text::Help(contact) => format!("  求助    {contact}"),
        Text::TypeThis => "请在应用中输入以下内容, 密钥类型选“基于时间”:".into(),
        Text::Issuer => "  发行方  ".into(),
        Text::Account => "  账户    ".into(),
        Text::Codes => "  验证码  ".into(),
        Text::KeyField => "  密钥   ".into(),
        Text::Key => "密钥:".into(),
        Text::Form(Parameters { algorithm, digits, period }) => format!("{algorithm}, {digits} 位, {period} 秒"),
        Text::HereAreCodes => "Bound once this login opens. 登录后生效。恢复码只显示一次:".into(),
        Text::EachOnce => "设备丢失时, 每个恢复码可代替验证码登录一次。".into(),

        Text::Pair(error) => chinese_pair(error),
        Text::SetClock(offset) => {
            let side = if offset > 0 { "快" } else { "慢" };
            format!("设备的时钟比本机{side}约 {}: 请设为自动校时。", chinese_duration(offset.unsigned_abs()))
        }
        Text::Begun(ago, from) => {
            format!("{}已从 {} 开始绑定; 输入 new 可换新密钥。", chinese_ago(ago), printable(from, 40))
        }
        Text::Lapsed(ago, from) => {
            format!("{}从 {} 绑定的设备已作废: 该次登录未能完成。", chinese_ago(ago), name(from))
        }
        Text::News(news, ago, from) => chinese_news(news, &chinese_ago(ago), &name(from)),
        Text::Deadline(1, verb) => format!("从明天起登录必须使用 MFA。请现在绑定设备: mfa-enroll {verb}"),
        Text::Deadline(days, verb) => format!("{days} 天后登录必须使用 MFA。请在此之前绑定设备: mfa-enroll {verb}"),

        Text::CodesLeft(left, self_service, contact) => chinese_codes_left(left, self_service, contact),
        Text::BypassUsed => "该临时放行码已用掉。".into(),
        Text::BoundInLogin(user) => format!("登录完成后 {} 的设备即绑定生效, 此后将要求输入其验证码。", name(user)),
        Text::Bound(user, true) => format!("{} 的设备已绑定。从下次登录起将要求输入其验证码。", name(user)),
        Text::Bound(user, false) => format!("{} 的设备已绑定。本机的登录目前还不要求输入其验证码。", name(user)),
        Text::Replaced(user) => {
            format!("{} 的新设备已绑定。\n原设备及其恢复码均已失效。\n请告知共用此账户的人。", name(user))
        }
        Text::Unbound(user) => {
            format!("{} 的设备已解除绑定, 其密钥已销毁。\n应用中的条目不再有用。请告知共用此账户的人。", name(user))
        }
        Text::KeyBoundInLogin(user) => format!("登录完成后 {} 的安全密钥即绑定生效, 此后将要求触摸它。", name(user)),
        Text::KeyBound(user, true) => format!("{} 的安全密钥已绑定。从下次登录起将要求触摸它。", name(user)),
        Text::KeyBound(user, false) => format!("{} 的安全密钥已绑定。本机的登录目前还不要求触摸它。", name(user)),
        Text::KeyAdded(keys) => format!("安全密钥已绑定: {keys} 个中任用一个即可。"),
        Text::KeyRemoved(1) => "该安全密钥已解除绑定。还剩一个。".into(),
        Text::KeyRemoved(keys) => format!("该安全密钥已解除绑定。还剩 {keys} 个。"),
        Text::KeyReplaced(user) => {
            format!("{} 的安全密钥已绑定。\n以前绑定的设备及其恢复码均已失效。\n请告知共用此账户的人。", name(user))
        }
        Text::KeysUnbound(user) => format!("{} 已没有绑定的安全密钥。\n请告知共用此账户的人。", name(user)),
        Text::CodesHold => "这些恢复码已生效; 以前的全部作废。".into(),
        Text::MakeCodesFor(user) => format!("生成恢复码: mfa-enroll recovery-codes --user {}", shell_word(user)),
    }
}

fn chinese_which_kind(plugged: bool, ssh: Option<&str>) -> String {
    let plugged = if plugged { "\n  key  插在本机上的安全密钥" } else { "" };
    let ssh = ssh.map_or(String::new(), |key| format!("\n  ssh  此次 ssh 登录所用的安全密钥,\n       {key}"));
    format!("MFA is required. What do you bind? 要绑定哪一种?\n  app  身份验证器应用{plugged}{ssh}\n请输入其名称: ")
}

fn chinese_news(news: News, ago: &str, from: &str) -> String {
    match news {
        News::Bound => format!("此设备于 {ago}从 {from} 绑定。"),
        News::TookThePlace => format!("此设备于 {ago}从 {from} 取代了原设备。"),
        News::CodesMade => format!("新的恢复码于 {ago}从 {from} 生成。"),
        News::KeyAdded => format!("{ago}从 {from} 添加了一个安全密钥。"),
        News::KeyRemoved => format!("{ago}从 {from} 移除了一个安全密钥。"),
    }
}

fn chinese_codes_left(left: u32, self_service: bool, contact: Option<&str>) -> String {
    let left = if left == 0 { String::from("恢复码已用完。") } else { format!("恢复码还剩 {left} 个。") };
    let new = match (self_service, contact) {
        (true, _) => String::from("生成新的: mfa-enroll recovery-codes"),
        (false, Some(contact)) => format!("索取新的请联系 {contact} 。"),
        (false, None) => String::from("请向管理员索取新的。"),
    };
    format!("{left} {new}")
}

fn chinese_pair(error: &PairError) -> String {
    match error {
        PairError::Form(which, digits) => {
            let which = match which {
                Which::First => "一",
                Which::Second => "二",
            };
            format!("第{which}个验证码不是 {digits} 位数字。")
        }
        PairError::Same(period) => format!("两个验证码属于同一个 {period} 秒: 请等下一个出现。"),
        PairError::Order => "两个验证码的顺序反了: 先输入较早的那个。".into(),
        PairError::Gap => "两个验证码都对, 但不相邻: 请输入连续的两个。".into(),
        PairError::Old(age) => {
            let age = chinese_duration(*age);
            format!("这两个验证码是 {age}前的, 或者设备的时钟慢了: 请设为自动校时。")
        }
        PairError::Ahead(by) => format!("设备的时钟比本机快 {}: 请设为自动校时。", chinese_duration(*by)),
        PairError::SecondWrong => "第一个验证码正确, 第二个不正确。".into(),
        PairError::FirstWrong => "第二个验证码正确, 第一个不正确。".into(),
        PairError::Ignored { made, given } => {
            format!("此应用忽略了 {}: 请换用其他应用。", ignored(made, given, "位", "秒"))
        }
        PairError::Wrong => "两个验证码都不属于这个密钥: 请重新扫描, 或重新输入密钥。".into(),
    }
}

fn chinese_duration(n: u64) -> String {
    match (n / 3600, n / 60 % 60, n % 60) {
        (0, 0, s) => format!("{s} 秒"),
        (0, m, 0) => format!("{m} 分钟"),
        (0, m, s) => format!("{m} 分 {s} 秒"),
        (h, 0, _) => format!("{h} 小时"),
        (h, m, _) => format!("{h} 小时 {m} 分钟"),
    }
}

fn name(text: &str) -> String {
    printable(text, 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mfa_core::totp::Algorithm;

    use super::*;

    /// An example of the text that follows this one in the order above. The `match` makes the compiler ask for an
    /// example of every new text.
    fn next(text: Text<'static>) -> Option<Text<'static>> {
        const FROM: &str = "2001:db8::17";
        const SSH: &str = "SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDJKfgCl6gBZDYyIYs";
        Some(match text {
            Text::Code => Text::InvitationCode,
            Text::InvitationCode => Text::RecoveryCode,
            Text::RecoveryCode => Text::CodeUsed,
            Text::CodeUsed => Text::NotACode(6),
            Text::NotACode(_) => Text::RecoveryCodeUsed,
            Text::RecoveryCodeUsed => Text::NoRecoveryCode,
            Text::NoRecoveryCode => Text::Pin(None, ""),
            Text::Pin(None, _) => Text::Pin(Some(1), ""),
            Text::Pin(Some(1), _) => Text::Pin(Some(8), "blue"),
            Text::Pin(Some(_), _) => Text::Touch,
            Text::Touch => Text::TouchToChoose,
            Text::TouchToChoose => Text::PlugIn,
            Text::PlugIn => Text::PlugInOrCode,
            Text::PlugInOrCode => Text::NotBound,
            Text::NotBound => Text::KeyIsSilent,
            Text::KeyIsSilent => Text::KeyIsSlow,
            Text::KeyIsSlow => Text::UnlockKey,
            Text::UnlockKey => Text::KeyIsInUse,
            Text::KeyIsInUse => Text::WrongFinger,
            Text::WrongFinger => Text::PlugInNew,
            Text::PlugInNew => Text::BoundAlready,
            Text::BoundAlready => Text::WhichKind(true, None),
            Text::WhichKind(true, None) => Text::WhichKind(true, Some(SSH)),
            Text::WhichKind(true, Some(_)) => Text::WhichKind(false, Some(SSH)),
            Text::WhichKind(false, _) => Text::First,
            Text::First => Text::Second,
            Text::Second => Text::FirstOrWish,
            Text::FirstOrWish => Text::SecondNext,
            Text::SecondNext => Text::WrittenDown,
            Text::WrittenDown => Text::BindNow,
            Text::BindNow => Text::Help("helpdesk 4711"),
            Text::Help(_) => Text::TypeThis,
            Text::TypeThis => Text::Issuer,
            Text::Issuer => Text::Account,
            Text::Account => Text::Codes,
            Text::Codes => Text::KeyField,
            Text::KeyField => Text::Key,
            Text::Key => Text::Form(Parameters::DEFAULT),
            Text::Form(_) => Text::HereAreCodes,
            Text::HereAreCodes => Text::EachOnce,
            Text::EachOnce => Text::Pair(&PairError::Form(Which::First, 6)),
            Text::Pair(error) => match error {
                PairError::Form(Which::First, _) => Text::Pair(&PairError::Form(Which::Second, 6)),
                PairError::Form(..) => Text::Pair(&PairError::Same(30)),
                PairError::Same(_) => Text::Pair(&PairError::Order),
                PairError::Order => Text::Pair(&PairError::Gap),
                PairError::Gap => Text::Pair(&PairError::Old(3570)),
                PairError::Old(_) => Text::Pair(&PairError::Ahead(3570)),
                PairError::Ahead(_) => Text::Pair(&PairError::SecondWrong),
                PairError::SecondWrong => Text::Pair(&PairError::FirstWrong),
                PairError::FirstWrong => Text::Pair(&PairError::Wrong),
                PairError::Wrong => Text::Pair(&PairError::Ignored {
                    made: Parameters::DEFAULT,
                    given: Parameters { algorithm: Algorithm::Sha512, digits: 8, period: 300 },
                }),
                PairError::Ignored { .. } => Text::SetClock(270),
            },
            Text::SetClock(270) => Text::SetClock(-270),
            Text::SetClock(_) => Text::Begun(25, FROM),
            Text::Begun(..) => Text::Lapsed(7200, FROM),
            Text::Lapsed(..) => Text::News(News::Bound, 7200, FROM),
            Text::News(News::Bound, ..) => Text::News(News::TookThePlace, 300, FROM),
            Text::News(News::TookThePlace, ..) => Text::News(News::CodesMade, 61, FROM),
            Text::News(News::CodesMade, ..) => Text::News(News::KeyAdded, 61, FROM),
            Text::News(News::KeyAdded, ..) => Text::News(News::KeyRemoved, 61, FROM),
            Text::News(News::KeyRemoved, ..) => Text::Deadline(1, "totp"),
            Text::Deadline(1, _) => Text::Deadline(14, "u2f"),
            Text::Deadline(..) => Text::CodesLeft(0, false, None),
            Text::CodesLeft(0, false, None) => Text::CodesLeft(0, false, Some("helpdesk 4711")),
            Text::CodesLeft(0, false, _) => Text::CodesLeft(3, true, None),
            Text::CodesLeft(..) => Text::BypassUsed,
            Text::BypassUsed => Text::BoundInLogin("alice7"),
            Text::BoundInLogin(_) => Text::Bound("alice7", true),
            Text::Bound(_, true) => Text::Bound("alice7", false),
            Text::Bound(..) => Text::Replaced("alice7"),
            Text::Replaced(_) => Text::Unbound("alice7"),
            Text::Unbound(_) => Text::KeyBoundInLogin("alice7"),
            Text::KeyBoundInLogin(_) => Text::KeyBound("alice7", true),
            Text::KeyBound(_, true) => Text::KeyBound("alice7", false),
            Text::KeyBound(..) => Text::KeyAdded(2),
            Text::KeyAdded(_) => Text::KeyRemoved(1),
            Text::KeyRemoved(1) => Text::KeyRemoved(3),
            Text::KeyRemoved(_) => Text::KeyReplaced("alice7"),
            Text::KeyReplaced(_) => Text::KeysUnbound("alice7"),
            Text::KeysUnbound(_) => Text::CodesHold,
            Text::CodesHold => Text::MakeCodesFor("alice7"),
            Text::MakeCodesFor(_) => return None,
        })
    }

    fn all() -> Vec<Text<'static>> {
        std::iter::successors(Some(Text::Code), |text| next(*text)).collect()
    }

    fn is_question(text: &str) -> bool {
        text.ends_with(": ")
    }

    /// The parts that must be equal in both languages: numbers, names, commands.
    fn values(text: &str) -> BTreeSet<&str> {
        let command = text.split_once("mfa-enroll").map(|(_, rest)| rest.trim());
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').map(|word| word.trim_matches(':'));
        words.filter(|word| word.contains(|c: char| c.is_ascii_digit())).chain(command).collect()
    }

    /// Any character beyond ASCII may be two columns wide.
    fn columns(line: &str) -> usize {
        line.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
    }

    #[test]
    fn two_codes_that_are_wrong_are_told_what_they_had_wrong() {
        let said = |error| Lang::En.say(Text::Pair(&error));
        assert_eq!(said(PairError::Same(30)), "Both codes are from the same 30 seconds: wait for the next one.");
        assert_eq!(said(PairError::Form(Which::Second, 6)), "The second code is not 6 digits.");
        assert!(said(PairError::Old(3600)).starts_with("These codes are an hour old"));
        assert_eq!(duration(3660 + 3600), "2 h 1 min");
    }

    #[test]
    fn every_text_says_the_same_in_both_languages() {
        for text in all() {
            let (english, chinese) = (Lang::En.say(text), Lang::ZhCn.say(text));
            assert_eq!(values(&english), values(&chinese), "{english:?} {chinese:?}");
            assert_eq!(is_question(&english), is_question(&chinese), "{english:?} {chinese:?}");
            assert_eq!(english.lines().count(), chinese.lines().count(), "{english:?} {chinese:?}");
            assert!(english.is_ascii(), "{english:?}");
            let translated = !chinese.is_ascii() && english != chinese;
            assert!(translated, "{chinese:?} is not Chinese");
        }
        // The words that may be typed are the same in both.
        for lang in [Lang::En, Lang::ZhCn] {
            assert!(lang.say(Text::FirstOrWish).contains(" key, qr, invert, ascii, new): "));
            assert!(lang.say(Text::WrittenDown).contains(" ok") && lang.say(Text::Begun(1, "")).contains(" new "));
        }
    }

    /// ssh clients with a rule for prompts look for these words, as google-authenticator's prompt has them.
    #[test]
    fn every_question_for_a_code_has_the_words_verification_code() {
        let before = [Text::Code, Text::RecoveryCode, Text::PlugInOrCode];
        let pairs = [Text::First, Text::Second, Text::FirstOrWish, Text::SecondNext];
        let codes = || before.into_iter().chain(pairs);
        for text in codes() {
            for said in [Lang::En.say(text), Lang::ZhCn.say(text)] {
                assert!(said.to_lowercase().contains("verification code") && is_question(&said), "{said:?}");
            }
        }
        assert_eq!(Lang::En.say(Text::Code), "Verification code: ");
        let asks = |said: &String| is_question(said) && said.to_lowercase().contains("code");
        let questions: Vec<_> = all().into_iter().map(|text| Lang::En.say(text)).filter(asks).collect();
        let in_order: Vec<_> = codes().map(|text| Lang::En.say(text)).collect();
        assert_eq!(questions, in_order, "in the order of `next`");
    }

    #[test]
    fn every_line_fits_80_columns_steers_nothing_and_asks_for_no_login_secret() {
        for text in all() {
            for said in [Lang::En.say(text), Lang::ZhCn.say(text)] {
                assert!(said.lines().all(|line| columns(line) <= 80), "{said:?}");
                assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
                let said = said.to_lowercase();
                for word in ["password", "passcode", "passwd", "passphrase", "密码", "口令", "通行码"] {
                    assert!(!said.contains(word), "{said:?}");
                }
            }
        }
    }

    /// The OpenSSH client prints `(user@host) ` in front; where Chinese cannot be drawn, the beginning still tells
    /// the meaning.
    #[test]
    fn questions_and_heads_begin_in_ascii_and_leave_room() {
        let heads = [Text::BindNow, Text::HereAreCodes];
        let questions = all().into_iter().filter(|text| is_question(&Lang::En.say(*text)));
        for text in questions.chain(heads) {
            let (english, chinese) = (Lang::En.say(text), Lang::ZhCn.say(text));
            let begin: String = chinese.chars().take_while(char::is_ascii).collect();
            let begin = begin.trim_end().trim_end_matches('.');
            assert!(begin.contains(' ') && english.starts_with(begin), "{chinese:?} does not begin as {english:?}");
            let room = if matches!(text, Text::FirstOrWish) { 12 } else { 20 };
            let asked = chinese.lines().last().unwrap_or_default();
            assert!(columns(asked) + room <= 80, "{chinese:?}");
        }
    }

    fn login(service: &str, rhost: Option<&str>, tty: Option<&str>) -> Login {
        Login {
            rhost: rhost.map(str::to_owned),
            tty: tty.map(str::to_owned),
            stack_complete: true,
            ..Login::at("alice", service)
        }
    }

    #[test]
    fn no_client_has_to_take_more_than_ascii_at_every_login_and_no_console_ever() {
        use Lang::{En, ZhCn};
        for (service, rhost, tty, everywhere, beside_a_picture) in [
            ("sudo", None, Some("/dev/pts/3"), ZhCn, ZhCn),
            ("login", Some(""), Some("/dev/pts/3"), ZhCn, ZhCn),
            ("polkit-1", None, None, ZhCn, ZhCn),
            ("lightdm", None, Some(":0"), ZhCn, ZhCn),
            ("sshd", None, None, En, ZhCn),
            ("sshd-office", Some("192.0.2.1"), Some("ssh"), En, ZhCn),
            ("vpn", Some("192.0.2.1"), None, En, ZhCn),
            ("login", None, Some("tty1"), En, En),
            ("login", None, Some("/dev/ttyS0"), En, En),
            ("su", None, Some("/dev/console"), En, En),
        ] {
            let login = login(service, rhost, tty);
            let found = (ZhCn.everywhere(&login), ZhCn.beside_a_picture(&login));
            assert_eq!(found, (everywhere, beside_a_picture), "{service} {rhost:?} {tty:?}");
            assert_eq!((En.everywhere(&login), En.beside_a_picture(&login)), (En, En));
        }
        let by_key = Login { ssh_auth_info: Some(String::new()), ..login("other", None, None) };
        assert_eq!(ZhCn.everywhere(&by_key), En);
    }
}
