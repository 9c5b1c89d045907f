//! Product files, read as syntax.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A function with a body.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line it begins at.
    pub line: usize,
    /// Its lines, from the signature to the closing brace.
    pub lines: usize,
    /// Its parameters, `self` included.
    pub parameters: usize,
}

/// A file without its inline tests.
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// All lines of it, tests included.
    pub lines: usize,
    /// Its functions.
    pub functions: Vec<Function>,
    /// Unsafe blocks, functions and implementations.
    pub unsafes: usize,
    /// Calls of `unwrap` and `expect`.
    pub unwraps: usize,
    /// The paths that it names, each with the modules inside of the file that it stands in.
    pub paths: BTreeSet<Vec<String>>,
    /// Modules that are compiled for tests only, and live in files of their own.
    tests: Vec<String>,
}

/// All product files below `root`: those of each `src` folder, without what is compiled for tests only.
pub fn product(root: &Path) -> Result<Vec<File>, String> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    let mut files = paths.iter().map(|path| read(path)).collect::<Result<Vec<File>, String>>()?;
    let tests: BTreeSet<PathBuf> = files.iter().flat_map(File::test_files).collect();
    files.retain(|file| !tests.contains(&file.path));
    Ok(files)
}

/// The folders that hold no product.
const NO_PRODUCT: [&str; 7] = ["target", "tests", "test-framework", "test-binaries", "benches", "bench", "fuzz"];

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    let unread = |error| format!("{}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !NO_PRODUCT.contains(&name) {
                collect(&path, paths)?;
            }
        } else if name.ends_with(".rs") && path.components().any(|part| part.as_os_str() == "src") {
            paths.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<File, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let syntax = syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = File {
        path: path.to_owned(),
        lines: text.lines().count(),
        functions: Vec::new(),
        unsafes: 0,
        unwraps: 0,
        paths: BTreeSet::new(),
        tests: Vec::new(),
    };
    let mut reader = Reader { file, inside: Vec::new() };
    reader.visit_file(&syntax);
    Ok(reader.file)
}

impl File {
    fn test_files(&self) -> Vec<PathBuf> {
        let children = self.children();
        let name = |module: &String| [children.join(format!("{module}.rs")), children.join(module).join("mod.rs")];
        self.tests.iter().flat_map(name).collect()
    }

    /// The folder in which the files of its modules are.
    pub fn children(&self) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        match self.path.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") | None => folder.to_owned(),
            Some(stem) => folder.join(stem),
        }
    }
}

struct Reader {
    file: File,
    /// The inline modules around what is read.
    inside: Vec<String>,
}

impl Reader {
    fn function(&mut self, signature: &syn::Signature, end: &syn::Block) {
        let line = signature.span().start().line;
        self.file.functions.push(Function {
            name: signature.ident.to_string(),
            line,
            lines: end.span().end().line - line + 1,
            parameters: signature.inputs.len(),
        });
        self.file.unsafes += usize::from(!matches!(signature.safety, syn::Safety::Safe(_) | syn::Safety::Default));
    }

    fn names(&mut self, path: Vec<String>) {
        // What is said inside of an inline module begins one module further down.
        let first = path.first().map(String::as_str);
        let whole = match first {
            Some("super" | "self") => {
                let mut base = vec![String::from("self")];
                base.extend(self.inside.iter().cloned());
                base.extend(path);
                base
            }
            _ => path,
        };
        self.file.paths.insert(whole);
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<String>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            syn::UseTree::Name(name) => self.names(with(name.ident.to_string())),
            syn::UseTree::Rename(name) => self.names(with(name.ident.to_string())),
            syn::UseTree::Glob(_) => self.names(before.to_vec()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(before, item)),
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    let test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("test")))
    };
    attributes.iter().any(test)
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let name = module.ident.to_string();
        match (is_for_tests(&module.attrs), &module.content) {
            (true, None) => self.file.tests.push(name),
            (true, Some(_)) => {}
            (false, _) => {
                self.inside.push(name);
                visit::visit_item_mod(self, module);
                self.inside.pop();
            }
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 && path.leading_colon.is_none() {
            self.names(names);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if is_for_tests(&function.attrs) {
            return;
        }
        self.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.function(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.file.unsafes += 1;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.file.unsafes += usize::from(item.unsafety.is_some());
        visit::visit_item_impl(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.file.unwraps += usize::from(call.method == "unwrap" || call.method == "expect");
        visit::visit_expr_method_call(self, call);
    }
}
