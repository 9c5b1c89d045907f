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
    /// All whom it is about, where the sentence names only the first of them.
    pub(crate) names: Vec<String>,
}

impl Finding {
    /// A fault that lets people past or locks them out.
    pub(crate) fn grave(id: &str, place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let (id, place) = (id.to_owned(), place.to_owned());
        Finding { grave: true, id, place, what: what.into(), remedy: remedy.into(), names: Vec::new() }
    }

    /// A fault that should be corrected.
    pub(crate) fn warning(id: &str, place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { grave: false, ..Finding::grave(id, place, what, remedy) }
    }

    /// Reads the helper's report: five lines.
    fn read(report: &str) -> Option<Finding> {
        let mut lines = report.lines().map(str::to_owned);
        let mut line = || lines.next();
        let grave = line()? != "warning";
        let (id, place, what, remedy) = (line()?, line()?, line()?, line()?);
        Some(Finding { grave, id, place, what, remedy, names: Vec::new() })
    }

    /// Reads the helper's reports: each of them a finding, or names that belong to the one before.
    pub(crate) fn read_all(reports: &[String]) -> Option<Vec<Finding>> {
        let mut found: Vec<Finding> = Vec::new();
        for report in reports {
            match report.strip_prefix("names\n") {
                Some(names) => found.last_mut()?.names.extend(names.lines().map(str::to_owned)),
                None => found.push(Finding::read(report)?),
            }
        }
        Some(found)
    }
}
