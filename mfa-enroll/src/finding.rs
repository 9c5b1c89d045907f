//! The findings of `doctor`.

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether it lets people past or locks them out; otherwise it should be corrected.
    pub(crate) grave: bool,
    /// The kind of fault, which scripts compare.
    pub(crate) id: String,
    /// A file with a line, a unit, a user.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) what: String,
    /// A command for the shell.
    pub(crate) remedy: String,
}

impl Finding {
    /// A fault that lets people past or locks them out.
    pub(crate) fn grave(id: &str, place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let (id, place) = (id.to_owned(), place.to_owned());
        Finding { grave: true, id, place, what: what.into(), remedy: remedy.into() }
    }

    /// A fault that should be corrected.
    pub(crate) fn warning(id: &str, place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { grave: false, ..Finding::grave(id, place, what, remedy) }
    }

    /// Reads the helper's report: five lines.
    pub(crate) fn read(report: &str) -> Option<Finding> {
        let mut lines = report.lines().map(str::to_owned);
        let mut line = || lines.next();
        let grave = line()? != "warning";
        Some(Finding { grave, id: line()?, place: line()?, what: line()?, remedy: line()? })
    }
}
