//! Makes warnings that reach the user whole.
//!
//! The API server sends each as an HTTP header (`k8s.io/apiserver/pkg/endpoints/filters/warning.go`): it drops one with a control
//! character in it, and once all warnings of a request exceed 4,096 characters, those of other webhooks among them, it cuts each
//! after 256 and drops the rest. So sentences become pieces that survive the cut, in a number that stays below the sum.

/// The characters that are left of each warning once there are too many of them.
const MAX_WARNING: usize = 256;
/// The characters that all warnings of an answer have at most. The rest of the API server's 4,096 is for others.
const MAX_TOTAL: usize = 3584;
/// Begins what continues the warning before it.
const CONTINUED: &str = "... ";

/// The warnings that an answer carries for these sentences: one line each, a long one in several. What is too much is counted.
pub fn for_api_server(sentences: &[String]) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    let mut total = 0;
    for (told, sentence) in sentences.iter().enumerate() {
        for piece in split(&one_line(sentence)) {
            total += piece.chars().count();
            if total > MAX_TOTAL {
                let more = sentences.len() - told;
                warnings.push(format!("and {more} more, which do not fit here whole"));
                return warnings;
            }
            warnings.push(piece);
        }
    }
    warnings
}

/// The sentence without control characters; its lines become clauses.
fn one_line(sentence: &str) -> String {
    let lines = sentence.split(['\n', '\r']).map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("; ").replace(char::is_control, " ")
}

/// The sentence in pieces of at most [`MAX_WARNING`] characters, between clauses if that fits, else between words.
fn split(sentence: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = sentence;
    let mut prefix = "";
    loop {
        let room = MAX_WARNING - prefix.len();
        let Some((limit, _)) = rest.char_indices().nth(room) else {
            pieces.push(format!("{prefix}{rest}"));
            return pieces;
        };
        let head = &rest[..limit];
        // A clause of a few words is no piece of its own.
        let clause = head
            .rfind("; ")
            .map(|at| at + 1)
            .filter(|at| *at > limit / 2);
        let end = clause.or_else(|| head.rfind(' ')).filter(|at| *at > 0);
        let (piece, after) = rest.split_at(end.unwrap_or(limit));
        pieces.push(format!("{prefix}{}", piece.trim_end()));
        rest = after.trim_start();
        prefix = CONTINUED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(sentences: &[&str]) -> Vec<String> {
        let sentences: Vec<_> = sentences.iter().map(|&s| s.to_owned()).collect();
        for_api_server(&sentences)
    }

    fn length(warnings: &[String]) -> usize {
        warnings.iter().map(|warning| warning.chars().count()).sum()
    }

    #[test]
    fn lines_become_clauses_and_no_control_character_gets_out() {
        assert_eq!(
            warnings(&["spec: a; b\nspec.x: c\r\n\n  and 3 more\n"]),
            ["spec: a; b; spec.x: c; and 3 more"]
        );
        assert_eq!(warnings(&["a\tb\u{85}c\u{0}"]), ["a b c "]);
    }

    #[test]
    fn a_long_sentence_is_split_and_keeps_its_remedy_and_its_code() {
        let sentence = format!(
            "spec.deny[0]: 32-bit programs can still make the call {}; add \"socketcall\" to spec.deny, which takes it from them too [foreign-abi]",
            "by the other way ".repeat(11).trim_end()
        );
        assert!(sentence.len() > MAX_WARNING);
        let found = warnings(&[&sentence, "short"]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].ends_with("by the other way;"), "{found:?}");
        assert_eq!(
            found[1],
            "... add \"socketcall\" to spec.deny, which takes it from them too [foreign-abi]"
        );
        assert_eq!(found[2], "short");
    }

    #[test]
    fn every_piece_survives_the_cut_and_nothing_is_lost() {
        let words: Vec<_> = (0..300).map(|n| format!("wörd{n}")).collect();
        let words = words.join(" ");
        let found = warnings(&[&words]);
        assert!(found.len() > 5, "{found:?}");
        assert!(
            found
                .iter()
                .all(|piece| piece.chars().count() <= MAX_WARNING)
        );
        let joined: Vec<_> = found
            .iter()
            .map(|piece| piece.trim_start_matches(CONTINUED))
            .collect();
        assert_eq!(joined.join(" "), words);
        // Without any place to split at.
        let long = "ü".repeat(600);
        let found = warnings(&[&long]);
        assert!(
            found
                .iter()
                .all(|piece| piece.chars().count() <= MAX_WARNING)
        );
        assert_eq!(found.concat().replace(CONTINUED, ""), long);
    }

    #[test]
    fn all_together_leave_room_for_others_and_those_left_out_are_counted() {
        let sentence = "x".repeat(200);
        let found = warnings(&[sentence.as_str(); 40]);
        assert!(length(&found) <= 4096 - MAX_WARNING, "{}", length(&found));
        assert_eq!(
            found.last().map(String::as_str),
            Some("and 23 more, which do not fit here whole")
        );
        let found = warnings(&[&"word ".repeat(2000), "short"]);
        assert!(found.len() > 10 && length(&found) <= 4096 - MAX_WARNING);
        assert_eq!(
            found.last().map(String::as_str),
            Some("and 2 more, which do not fit here whole")
        );
    }
}
