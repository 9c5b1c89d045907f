//! Rewrites the model of ways in (`mfa-helper/src/flow/ways`) of a copy of this tree, so that each of its arms can be taken
//! out while it runs, one at a time: arms of `match`, their guards, and what an `if` goes by. All of them are in one
//! program then, which is built once.
//!
//!     cargo run -p arms -- COPY
//!
//! prints a line for each: its number, where it stands, what goes, and its text. `inside/` holds what the copy gets
//! besides.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::fs;
use std::ops::Range;
use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const WAYS: &str = "mfa-helper/src/flow/ways";

/// Those by which `policy explain` tells the ways in. `left.rs` is for `doctor` and `require`.
const FILES: [&str; 5] = ["mod.rs", "modules.rs", "shadow.rs", "sshd.rs", "sudoers.rs"];

/// These choose words, and change nothing of what happens.
const WORDS: [&str; 7] = ["fmt", "let_in", "question", "why_none", "why_refused", "why_no_way", "usual"];

fn main() {
    let copy = std::env::args().nth(1).expect("the copy of the tree");
    let copy = Path::new(&copy);
    let mut count = 0;
    for name in FILES {
        let path = copy.join(WAYS).join(name);
        let text = fs::read_to_string(&path).expect("a file of the model");
        let mut arms = Arms { name, text: &text, count, edits: Vec::new() };
        arms.visit_file(&syn::parse_file(&text).expect("Rust"));
        count = arms.count;
        fs::write(&path, arms.rewritten()).expect("the copy can be written");
    }
    let add = |path: &str, more: &str| {
        let path = copy.join(path);
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, text + more).expect("the copy can be written");
    };
    add(&format!("{WAYS}/arms.rs"), include_str!("../inside/arms.rs"));
    add(&format!("{WAYS}/mod.rs"), "\npub mod arms;\n");
    add("mfa-helper/src/lib.rs", "\npub use flow::ways::arms::main as arms;\n");
    fs::create_dir_all(copy.join("mfa-helper/examples")).expect("the copy can be written");
    add("mfa-helper/examples/arms.rs", "fn main() {\n    mfa_helper::arms();\n}\n");
}

/// The arms of one file.
struct Arms<'a> {
    name: &'static str,
    text: &'a str,
    /// How many there are so far.
    count: usize,
    /// What comes in where.
    edits: Vec<(usize, String)>,
}

impl Arms<'_> {
    /// A new one: the condition under which it is out.
    fn out(&mut self, what: &str, at: &Range<usize>) -> String {
        self.count += 1;
        let line = self.text[..at.start].lines().count();
        let text: Vec<&str> = self.text[at.clone()].split_whitespace().collect();
        println!("{}\t{}:{line}\t{what}\t{}", self.count, self.name, text.join(" "));
        format!("crate::flow::ways::arms::out({})", self.count)
    }

    fn put(&mut self, at: usize, text: impl Into<String>) {
        self.edits.push((at, text.into()));
    }

    /// A condition that no longer counts.
    fn without(&mut self, what: &str, condition: &syn::Expr) {
        let at = condition.span().byte_range();
        let out = self.out(what, &at);
        self.put(at.start, format!("({out} || ("));
        self.put(at.end, "))");
    }

    fn rewritten(mut self) -> String {
        let mut text = self.text.to_owned();
        // From the end on, and at one place the last first: each comes before the one that was put there before.
        self.edits.sort_by_key(|(at, _)| *at);
        for (at, more) in self.edits.iter().rev() {
            text.insert_str(*at, more);
        }
        text
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg"))
}

/// The conditions of a chain of `&&` with `let` in it that are none of its `let`s.
fn conditions<'a>(chain: &'a syn::Expr, found: &mut Vec<&'a syn::Expr>) -> bool {
    match chain {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(both) if matches!(both.op, syn::BinOp::And(_)) => {
            let mut inside = Vec::new();
            let lets = [conditions(&both.left, &mut inside), conditions(&both.right, &mut inside)];
            if lets.contains(&true) {
                found.extend(inside);
                return true;
            }
            found.push(chain);
            false
        }
        _ => {
            found.push(chain);
            false
        }
    }
}

impl<'a> Visit<'a> for Arms<'_> {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        if !WORDS.contains(&function.sig.ident.to_string().as_str()) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        if !WORDS.contains(&function.sig.ident.to_string().as_str()) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_expr_match(&mut self, all: &'a syn::ExprMatch) {
        for arm in &all.arms {
            let whole = arm.pat.span().byte_range().start..arm.body.span().byte_range().end;
            let out = self.out("arm", &whole);
            match &arm.pat {
                syn::Pat::Guard(guarded) => {
                    self.put(guarded.guard.span().byte_range().start, format!("!{out} && "));
                    self.without("guard", &guarded.guard);
                }
                pattern => self.put(pattern.span().byte_range().end, format!(" if !{out}")),
            }
        }
        visit::visit_expr_match(self, all);
        // Where no arm is left, the model breaks off.
        if let Some(last) = all.arms.last() {
            let comma = if last.comma.is_some() { "" } else { "," };
            let end = all.brace_token.span.close().byte_range().start;
            self.put(end, format!("{comma} _ => crate::flow::ways::arms::none(), "));
        }
    }

    fn visit_expr_if(&mut self, branch: &'a syn::ExprIf) {
        let at = branch.cond.span().byte_range();
        let out = self.out("branch", &at);
        self.put(at.start, format!("!{out} && "));
        let mut all = Vec::new();
        conditions(&branch.cond, &mut all);
        for condition in all {
            self.without("condition", condition);
        }
        visit::visit_expr_if(self, branch);
    }
}
