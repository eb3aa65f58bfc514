//! How an error reads in one line.

/// An error with all that caused it, as one line that says each thing once.
///
/// Many errors repeat their source's text, and those of kube say it once more in parentheses, as Rust would print it.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let own = error.to_string();
    let whole = match error.source() {
        None => own,
        Some(source) => {
            let text = source.to_string();
            let cause = chain(source);
            match own.split_once(&text) {
                Some((before, after)) if is_repetition(after) => format!("{before}{cause}"),
                _ => format!("{own}: {cause}"),
            }
        }
    };
    whole.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether what stands behind a source's text adds nothing to it.
fn is_repetition(after: &str) -> bool {
    after.is_empty() || after.starts_with(" (") && after.ends_with(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("the outer")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(
            chain(&Outer(std::io::Error::other("the inner"))),
            "the outer: the inner"
        );
    }

    #[test]
    fn what_the_api_server_says_is_told_once_and_in_one_line() {
        let status = kube::core::Status::failure("pods is forbidden:\nno rights", "Forbidden");
        let refused = kube::Error::Api(status.with_code(403).boxed());
        let error = kube::runtime::watcher::Error::InitialListFailed(refused);
        let line = chain(&error);
        assert_eq!(line.matches("forbidden").count(), 1, "{line}");
        assert!(!line.contains('\n') && !line.contains("Status {"), "{line}");
        assert!(
            line.starts_with("failed to perform initial object list: ApiError: "),
            "{line}"
        );
    }
}
