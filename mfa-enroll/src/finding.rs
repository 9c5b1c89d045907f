//! What `doctor` finds.

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Lets past or locks out; else it should be mended.
    pub(crate) grave: bool,
    /// What kind of thing: scripts go by it.
    pub(crate) id: String,
    /// A file with a line, a unit, a user.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) what: String,
    /// A line for the shell.
    pub(crate) remedy: String,
}

impl Finding {
    /// One that lets past or locks out.
    pub(crate) fn grave(id: &str, place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let (id, place) = (id.to_owned(), place.to_owned());
        Finding { grave: true, id, place, what: what.into(), remedy: remedy.into() }
    }

    /// One that should be mended.
    pub(crate) fn warning(id: &str, place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { grave: false, ..Finding::grave(id, place, what, remedy) }
    }

    /// As the helper reports it: five lines.
    pub(crate) fn read(report: &str) -> Option<Finding> {
        let mut lines = report.lines().map(str::to_owned);
        let mut line = || lines.next();
        let grave = line()? != "warning";
        Some(Finding { grave, id: line()?, place: line()?, what: line()?, remedy: line()? })
    }
}
