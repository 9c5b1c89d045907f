//! One run of a stack, and all possible runs: `_pam_dispatch_aux` of `libpam/pam_dispatch.c`.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::{AUTH_ERR, Action, CODES, Code, IGNORE, INCOMPLETE, Kind, Module, NEW_AUTHTOK_REQD, PERM_DENIED, SUCCESS};
use super::{Stack, StackError};

/// The most situations that are followed. The stacks of distributions have some hundred.
const SITUATIONS: usize = 100_000;

/// Modules whose `PAM_SUCCESS` does not prove the user's identity: they prepare something, check something else, or
/// grant access without a proof. pam_exec and the like may run any command. Every other module counts as a first
/// factor. If such a module proves nothing and its failure leads to the same lines as its success, there is no risk:
/// the path on which it fails is followed too.
const NO_PROOF: &[&str] = &[
    "pam_abl.so",
    "pam_access.so",
    "pam_afs_session.so",
    "pam_alreadyloggedin.so",
    "pam_autologin.so",
    "pam_cap.so",
    "pam_captcha.so",
    "pam_cgroup.so",
    "pam_chroot.so",
    "pam_console.so",
    "pam_cracklib.so",
    "pam_debug.so",
    "pam_deny.so",
    "pam_duo.so",
    "pam_echo.so",
    "pam_ecryptfs.so",
    "pam_elogind.so",
    "pam_env.so",
    "pam_exec.so",
    "pam_faildelay.so",
    "pam_faillock.so",
    "pam_filter.so",
    "pam_fscrypt.so",
    "pam_ftp.so",
    "pam_gdm.so",
    "pam_geoip.so",
    "pam_gnome_keyring.so",
    "pam_gnupg.so",
    "pam_group.so",
    "pam_issue.so",
    "pam_keyinit.so",
    "pam_krb5_migrate_heimdal.so",
    "pam_krb5_migrate_mit.so",
    "pam_kwallet.so",
    "pam_kwallet5.so",
    "pam_lastlog.so",
    "pam_lastlog2.so",
    "pam_limits.so",
    "pam_listfile.so",
    "pam_localuser.so",
    "pam_loginuid.so",
    "pam_lua.so",
    "pam_mail.so",
    "pam_mkhomedir.so",
    "pam_mktemp.so",
    "pam_motd.so",
    "pam_mount.so",
    "pam_namespace.so",
    "pam_nologin.so",
    "pam_oddjob_mkhomedir.so",
    "pam_perl.so",
    "pam_permit.so",
    "pam_postgresok.so",
    "pam_python.so",
    "pam_rhosts.so",
    "pam_rhosts_auth.so",
    "pam_rootok.so",
    "pam_script.so",
    "pam_securetty.so",
    "pam_selinux.so",
    "pam_selinux_permit.so",
    "pam_sepermit.so",
    "pam_setquota.so",
    "pam_shells.so",
    "pam_shield.so",
    "pam_ssh_add.so",
    "pam_stack.so",
    "pam_stress.so",
    "pam_succeed_if.so",
    "pam_systemd.so",
    "pam_systemd_loadkey.so",
    "pam_tally.so",
    "pam_tally2.so",
    "pam_time.so",
    "pam_timestamp.so",
    "pam_tmpdir.so",
    "pam_umask.so",
    "pam_usertype.so",
    "pam_vbox.so",
    "pam_warn.so",
    "pam_wheel.so",
    "pam_xauth.so",
    "pam_zfs_key.so",
];

/// First factors that accept no empty password unless an argument allows it.
const NO_EMPTY: &[&str] = &[
    "pam_fprintd.so",
    "pam_krb5.so",
    "pam_ldap.so",
    "pam_sss.so",
    "pam_systemd_home.so",
    "pam_unix.so",
    "pam_winbind.so",
];

/// The arguments of pam_exec in `config/pam.d/mfa-sshd-key`: the command succeeds if sshd has accepted a key on this
/// connection. Compared exactly, because we cannot know what another command proves.
const KEY_OF_SSHD: [&str; 4] =
    ["quiet", "/bin/sh", "-c", r#"case "$SSH_AUTH_INFO_0" in "publickey "*) exit 0;; esac; exit 1"#];

/// A number that is not a code of PAM's.
const NO_CODE: Code = -1;

/// The result of one run of a stack.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The code that the application gets.
    pub result: Code,
    /// The lines whose modules were called, in order.
    pub called: Vec<&'a Module>,
}

/// How a run may end, if each module returns one of the codes that are possible for it.
#[derive(Debug)]
pub struct End<'a> {
    /// The code that the application gets.
    pub result: Code,
    /// A line of ours was called.
    pub reached: bool,
    /// The modules that were called, with their codes.
    pub steps: Vec<(&'a Module, Code)>,
}

/// The facts about all runs of a stack.
#[derive(Debug, PartialEq, Eq)]
pub struct Findings {
    /// Whether our line is reached on the paths on which the stack lets the user in.
    pub reached: Reached,
    /// A path on which the stack lets the user in although a line of ours refused.
    pub overridden: Option<Path>,
    /// Whether a line of ours is called on any path, whether or not that path lets in.
    pub called: bool,
    /// In auth: a path to a line of ours on which no first factor has succeeded. If one failed before another
    /// succeeded, that does no harm: pam_unix fails for every user that only pam_sss knows.
    pub unproved: Option<Path>,
    /// In auth: a path that lets in without a first factor if our lines on it return `PAM_IGNORE`.
    pub open: Option<Path>,
    /// Whether the stack can let in if our line returns `PAM_IGNORE`. If not, users who need no MFA cannot log in.
    pub ignorable: bool,
}

/// On which paths that let in our line is reached.
#[derive(Debug, PartialEq, Eq)]
pub enum Reached {
    /// On every such path, and there is one.
    Always,
    /// Not on this path, but on others.
    Sometimes(Path),
    /// On no such path, or no path lets in.
    Never,
}

/// One path through a stack: the modules that are called, and their return codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub Vec<Step>);

/// A module that was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The file of its line.
    pub file: String,
    /// The number of its line, from 1.
    pub number: usize,
    /// The module, as the line names it.
    pub module: String,
    /// Its return code.
    pub code: Code,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it is the first line");
        }
        for (n, Step { file, number, module, code }) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let code = usize::try_from(*code).ok().and_then(|code| CODES.get(code)).unwrap_or(&"an unknown code");
            write!(f, "{comma}{module} ({file}:{number}) says {code}")?;
        }
        Ok(())
    }
}

/// The state of libpam between two lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// The next line.
    at: usize,
    impression: Impression,
    /// The impression at the entry of the stack and of each substack that we are in; `reset` goes back to it.
    entered: Vec<Impression>,
}

/// libpam's `impression` and `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Impression {
    Undefined,
    Positive(Code),
    Negative(Code),
}

impl Stack {
    /// One run, in which each module returns what `say` gives for it.
    pub fn run(&self, say: &mut dyn FnMut(&Module) -> Code) -> Outcome<'_> {
        let mut state = self.start();
        let mut called = Vec::new();
        while let Some(module) = self.module_at(&state) {
            called.push(module);
            let code = say(module);
            if code == INCOMPLETE {
                return Outcome { result: INCOMPLETE, called };
            }
            self.step(&mut state, module.action(code), effect(code));
        }
        Outcome { result: state.result(), called }
    }

    /// All different ends of its runs, if each module returns one of the codes that `possible` gives for it.
    pub fn ends(&self, possible: &dyn Fn(&Module) -> Vec<Code>) -> Result<Vec<End<'_>>, StackError> {
        let answer = |module: &Module, code| Answer { action: module.action(code), meaning: effect(code), code };
        let answers = |module: &Module| possible(module).into_iter().map(|code| answer(module, code)).collect();
        let nodes = self.situations(&answers)?;
        let ended = nodes.iter().enumerate().filter(|(_, node)| self.module_at(&node.situation.state).is_none());
        let end = |(at, node): (usize, &Node)| End {
            result: node.situation.state.result(),
            reached: node.situation.seen.reached,
            steps: self.steps(&nodes, at),
        };
        Ok(ended.map(end).collect())
    }

    /// Follows all runs, with every result of the other modules.
    pub fn judge_runs(&self) -> Result<Findings, StackError> {
        let nodes = self.situations(&|module| module.answers(self.kind))?;
        let (mut unreached, mut overridden, mut unproved, mut open) = (None, None, None, None);
        let (mut called, mut reached, mut ignorable) = (false, false, false);
        for (at, Node { situation: Situation { state, seen }, .. }) in nodes.iter().enumerate() {
            if let Some(module) = self.module_at(state) {
                called |= module.is_ours();
                if module.is_ours() && !seen.proved && !seen.nonsense {
                    unproved = unproved.or(Some(at));
                }
            } else if self.kind.lets_in(state.result()) {
                let ignored = !seen.refused && !seen.granted;
                reached |= seen.reached;
                ignorable |= seen.reached && ignored;
                if !seen.reached {
                    unreached = unreached.or(Some(at));
                }
                if seen.refused {
                    overridden = overridden.or(Some(at));
                }
                if ignored && !seen.proved {
                    open = open.or(Some(at));
                }
            }
        }
        let path = |node| self.path(&nodes, node);
        let reached = match (reached, unreached) {
            (false, _) => Reached::Never,
            (true, None) => Reached::Always,
            (true, Some(node)) => Reached::Sometimes(path(node)),
        };
        // Other types prove nothing; that is the task of auth.
        let in_auth = |_: &usize| self.kind == Kind::Auth;
        Ok(Findings {
            reached,
            overridden: overridden.map(path),
            called,
            unproved: unproved.filter(in_auth).map(path),
            open: open.filter(in_auth).map(path),
            ignorable,
        })
    }

    /// The modules that are called on at least one path.
    pub fn reachable(&self) -> Result<Vec<&Module>, StackError> {
        let lines: BTreeSet<usize> =
            self.situations(&|module| module.answers(self.kind))?.iter().map(|node| node.situation.state.at).collect();
        Ok(lines.into_iter().filter_map(|at| self.entries.get(at)?.module.as_ref()).collect())
    }

    /// Every situation that a run can reach, by the shortest paths first.
    ///
    /// Two codes with the same effect are followed as one, and so are two runs that have reached the same situation.
    fn situations(&self, answers: &dyn Fn(&Module) -> Vec<Answer>) -> Result<Vec<Node>, StackError> {
        let start = Situation { state: self.start(), seen: Seen::default() };
        let mut known = HashSet::from([start.clone()]);
        let mut nodes = vec![Node { situation: start, from: None }];
        let mut next = 0;
        while let Some(node) = nodes.get(next) {
            let Situation { state, seen } = node.situation.clone();
            if let Some(module) = self.module_at(&state) {
                let may_prove = module.may_prove() || (self.sshd && module.asks_for_a_key());
                for answer in answers(module) {
                    let mut state = state.clone();
                    self.step(&mut state, answer.action, answer.meaning);
                    let situation = Situation { state, seen: seen.and(module, may_prove, &answer) };
                    if known.insert(situation.clone()) {
                        nodes.push(Node { situation, from: Some((next, answer.code)) });
                    }
                }
            }
            if nodes.len() > SITUATIONS {
                return Err(StackError::TooMany);
            }
            next += 1;
        }
        Ok(nodes)
    }

    fn start(&self) -> State {
        let mut state = State { at: 0, impression: Impression::Undefined, entered: vec![Impression::Undefined] };
        self.enter(&mut state);
        state
    }

    fn level(&self, at: usize) -> Option<usize> {
        self.entries.get(at).map(|entry| entry.level)
    }

    fn module_at(&self, state: &State) -> Option<&Module> {
        self.entries.get(state.at)?.module.as_ref()
    }

    /// Enters the substacks that begin here.
    fn enter(&self, state: &mut State) {
        while let Some(entry) = self.entries.get(state.at) {
            state.entered.truncate(entry.level + 1);
            if entry.module.is_some() {
                break;
            }
            state.entered.push(state.impression);
            state.at += 1;
        }
    }

    /// The body of libpam's loop, after the call of the module.
    fn step(&self, state: &mut State, action: Action, code: Code) {
        use Impression::{Negative, Positive, Undefined};
        let level = state.entered.len() - 1;
        let mut over = false;
        match action {
            Action::Ignore => {}
            Action::Reset => state.impression = state.entered[level],
            Action::Ok | Action::Done => {
                if matches!(state.impression, Undefined | Positive(SUCCESS)) {
                    state.impression = Positive(code);
                }
                // `done` has no effect after a failure.
                over = action == Action::Done && matches!(state.impression, Positive(_));
            }
            Action::Bad | Action::Die => {
                if !matches!(state.impression, Negative(_)) {
                    state.impression = Negative(if code == IGNORE { PERM_DENIED } else { code });
                }
                over = action == Action::Die;
            }
            Action::Jump(lines) => self.jump(state, level, lines),
        }
        // Only this substack ends.
        while over && self.level(state.at + 1).is_some_and(|next| next >= level) {
            state.at += 1;
        }
        state.at += 1;
        self.enter(state);
    }

    /// Moves to the last line that is jumped over. A jump does not leave its substack.
    fn jump(&self, state: &mut State, level: usize, mut lines: usize) {
        while lines > 0 && self.level(state.at + 1).is_some_and(|next| next >= level) {
            state.at += 1;
            while self.level(state.at + 1).is_some_and(|next| next > level) {
                state.at += 1;
            }
            lines -= 1;
        }
        if lines > 0 {
            state.impression = Impression::Negative(PERM_DENIED);
        }
    }

    fn path(&self, nodes: &[Node], node: usize) -> Path {
        let step = |(module, code): (&Module, Code)| Step {
            file: module.file.clone(),
            number: module.number,
            module: module.path.clone(),
            code,
        };
        Path(self.steps(nodes, node).into_iter().map(step).collect())
    }

    /// The modules that are called on the way to a node.
    fn steps(&self, nodes: &[Node], mut node: usize) -> Vec<(&Module, Code)> {
        let mut steps = Vec::new();
        while let Some((from, code)) = nodes[node].from {
            steps.extend(self.module_at(&nodes[from].situation.state).map(|module| (module, code)));
            node = from;
        }
        steps.reverse();
        steps
    }
}

impl State {
    fn result(&self) -> Code {
        match self.impression {
            Impression::Undefined | Impression::Negative(SUCCESS) => PERM_DENIED,
            Impression::Positive(code) | Impression::Negative(code) => code,
        }
    }
}

/// A state, and the facts about the path to it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Situation {
    state: State,
    seen: Seen,
}

struct Node {
    situation: Situation,
    /// The node before it, and the code that the module there returned.
    from: Option<(usize, Code)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Seen {
    /// A line of ours was reached.
    reached: bool,
    /// One of our lines returned success.
    granted: bool,
    /// One of our lines returned neither success nor ignore.
    refused: bool,
    /// A module that may be a first factor returned success, or that the right password must be changed.
    proved: bool,
    /// A module returned a number that is not a code. libpam goes on after `die` then, but the stack fails, so first
    /// factors on this path do not matter.
    nonsense: bool,
}

impl Seen {
    fn and(mut self, module: &Module, may_prove: bool, answer: &Answer) -> Seen {
        let success = answer.meaning == SUCCESS;
        if module.is_ours() {
            self.reached = true;
            self.granted |= success;
            self.refused |= !success && answer.meaning != IGNORE;
        } else if may_prove {
            self.proved |= success || answer.meaning == NEW_AUTHTOK_REQD;
        }
        self.nonsense |= answer.code == NO_CODE;
        self
    }
}

/// A result that a module may return; it stands for all results with the same effect.
struct Answer {
    action: Action,
    meaning: Code,
    /// An example of the code.
    code: Code,
}

impl Module {
    /// The action of its line for a code: `bad` if the number is not a code.
    pub(super) fn action(&self, code: Code) -> Action {
        let action = usize::try_from(code).ok().and_then(|code| self.control.get(code));
        action.copied().unwrap_or(Action::Bad)
    }

    /// All results that it may return, the likely codes first. `PAM_INCOMPLETE` returns to the same line.
    fn answers(&self, kind: Kind) -> Vec<Answer> {
        let mut answers: Vec<Answer> = Vec::new();
        for code in [SUCCESS, AUTH_ERR, PERM_DENIED, IGNORE].into_iter().chain(SUCCESS..INCOMPLETE).chain([NO_CODE]) {
            let (action, meaning) = (self.action(code), meaning(code));
            if self.may_say(meaning, kind) && !answers.iter().any(|a| a.action == action && a.meaning == meaning) {
                answers.push(Answer { action, meaning, code });
            }
        }
        answers
    }

    /// Whether its line takes this code for a "yes", and not only for a jump to other lines.
    pub fn counts(&self, code: Code) -> bool {
        matches!(self.action(code), Action::Ok | Action::Done)
    }

    /// An example of each code by which its line may go on differently.
    pub fn anything(&self, kind: Kind) -> Vec<Code> {
        self.answers(kind).into_iter().map(|answer| answer.code).collect()
    }

    /// A foreign module may return anything: a missing one gives `PAM_MODULE_UNKNOWN`, and even pam_permit fails
    /// without a user. The exceptions: pam_deny, by its plain name, always fails in one way or another. In auth,
    /// pam_unix neither returns ignore nor demands a new password (in account it does). pam_exec with exactly the
    /// arguments of [`KEY_OF_SSHD`], which have no `type=`, does neither in any type. Our own module never demands a
    /// new password.
    fn may_say(&self, meaning: Code, kind: Kind) -> bool {
        match (self.path.as_str(), meaning) {
            ("pam_deny.so", meaning) => meaning == PERM_DENIED,
            ("pam_unix.so", IGNORE | NEW_AUTHTOK_REQD) => kind != Kind::Auth,
            ("pam_exec.so", IGNORE | NEW_AUTHTOK_REQD) => !self.asks_for_a_key(),
            (_, NEW_AUTHTOK_REQD) => !self.is_ours(),
            _ => true,
        }
    }

    /// Whether its success may be a first factor's, by the file name in any folder. pam_u2f with `nouserok` returned
    /// success for users without a key (CVE-2025-23013); pam_u2f and pam_yubico with `alwaysok` return success for
    /// every user.
    pub fn may_prove(&self) -> bool {
        let for_nothing = self
            .arguments
            .iter()
            .any(|argument| ["nouserok", "alwaysok"].iter().any(|word| argument.starts_with(word)));
        !NO_PROOF.contains(&self.name()) && self.name() != super::OURS && !for_nothing
    }

    /// Whether it may accept an empty password. Words such as pam_unix's `nullok` and `nullok_secure` allow it, and
    /// pam_unix compares only the beginning of an argument. An unknown module may accept it by default.
    pub(super) fn may_take_empty(&self) -> bool {
        let says = |word: &str| ["null", "empty", "blank"].iter().any(|like| word.to_ascii_lowercase().contains(like));
        let known = !self.may_prove() || NO_EMPTY.contains(&self.name());
        !self.is_ours() && (!known || self.arguments.iter().any(|argument| says(argument)))
    }

    /// Whether it is the first factor of a login with key and code. It checks a variable that only sshd sets.
    pub fn asks_for_a_key(&self) -> bool {
        self.path == "pam_exec.so" && self.arguments == KEY_OF_SSHD
    }
}

/// The code that libpam goes on with: a number that is not a code counts as a failure.
fn effect(code: Code) -> Code {
    if (SUCCESS..=INCOMPLETE).contains(&code) { code } else { PERM_DENIED }
}

/// The code that stands for all codes that neither libpam's rules nor ours distinguish.
fn meaning(code: Code) -> Code {
    match code {
        SUCCESS | NEW_AUTHTOK_REQD | IGNORE => code,
        _ => PERM_DENIED,
    }
}
