//! Messages of ONNX Runtime in a form that users can read: the parts that only its
//! developers understand are cut out.

/// How source files end, before the number of a line.
const SOURCES: [&str; 7] = [".cc:", ".h:", ".cpp:", ".hpp:", ".cu:", ".cuh:", ".inc:"];

/// A message as one sentence: without line breaks, source files, C++ signatures and the
/// conditions that did not hold.
pub(crate) fn clean(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().collect();
    let mut rest = words.join(" ");
    let mut text = String::new();
    while let Some((start, end)) = source_place(&rest) {
        text.push_str(&rest[..start]);
        let place = &rest[start..end];
        let after = rest[end..].trim_start();
        // A whole path is followed by a whole signature, a bare name by a bare name.
        let signature = if place.contains(['/', '\\']) {
            signature(after).or_else(|| identifier(after))
        } else {
            identifier(after)
        };
        let after = after[signature.unwrap_or(0)..].trim_start();
        rest = without_condition(after).to_string();
    }
    text.push_str(&rest);
    let text = text.replace("onnxruntime::", "");
    operator_first(text.trim())
}

/// Where a place such as `/src/core/graph.cc:12` is in a text.
fn source_place(text: &str) -> Option<(usize, usize)> {
    let found = SOURCES.iter().flat_map(|ending| {
        text.match_indices(ending).filter_map(move |(at, _)| {
            let digits = &text[at + ending.len()..];
            let count = digits.bytes().take_while(u8::is_ascii_digit).count();
            (count > 0).then_some((at, at + ending.len() + count))
        })
    });
    let (at, end) = found.min()?;
    let start = text[..at]
        .rfind([' ', '(', ':'])
        .map_or(0, |space| space + 1);
    Some((start, end))
}

/// The length of the name at the start of a text, if a word follows it.
fn identifier(text: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '~');
    let end = text.find(|c| !is_part(c))?;
    (end > 0 && text[end..].starts_with(' ')).then_some(end)
}

/// The length of the C++ signature that a text starts with.
fn signature(text: &str) -> Option<usize> {
    let mut end = text.find('(')?;
    let start = &text[..end];
    let is_type = ["void ", "bool ", "int ", "auto ", "static "];
    if !start.contains("::") && !is_type.iter().any(|word| start.starts_with(word)) {
        return None;
    }
    loop {
        end += balanced(&text[end..])?;
        let rest = &text[end..];
        if rest.starts_with('(') {
            continue;
        }
        // A member of a function, such as a lambda.
        let Some(member) = rest.strip_prefix("::") else {
            break;
        };
        if member.starts_with('<') {
            end += 2 + balanced(member)?;
            break;
        }
        end += rest.find('(')?;
    }
    if let Some(rest) = text[end..].strip_prefix(" const") {
        end = text.len() - rest.len();
    }
    if text[end..].starts_with(" [with ") {
        end += 1 + balanced(&text[end + 1..])?;
    }
    Some(end)
}

/// The length of the group in brackets that a text starts with.
fn balanced(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '<' | '{' => depth += 1,
            ')' | ']' | '>' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at + c.len_utf8());
        }
    }
    None
}

/// What follows `a == b was false.`, which is C++, where something does.
fn without_condition(text: &str) -> &str {
    match text.split_once(" was false. ") {
        Some((condition, rest)) if !condition.contains(". ") => rest,
        _ => text,
    }
}

/// Puts the message about an operator that failed, which is in several sentences, into one.
fn operator_first(text: &str) -> String {
    let split = || {
        let rest = text.strip_prefix("Non-zero status code returned while running ")?;
        let (operator, rest) = rest.split_once(" node. Name:'")?;
        let (name, reason) = rest.split_once("' Status Message: ")?;
        Some(match name {
            "" => format!("operator {operator}: {reason}"),
            name => format!("operator {operator} '{name}': {reason}"),
        })
    };
    split().unwrap_or_else(|| text.to_string())
}

/// What a model needs that is newer than ONNX Runtime, and what ONNX Runtime has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Newer {
    Opset {
        domain: String,
        wanted: String,
        known: String,
    },
    FileFormat {
        wanted: String,
        known: String,
    },
}

impl Newer {
    /// Reads a message that is about a version.
    pub(crate) fn of(message: &str) -> Option<Self> {
        let number_after = |start: &str| {
            let rest = &message[message.find(start)? + start.len()..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (digits > 0).then(|| rest[..digits].to_string())
        };
        if let Some(known) = number_after("max supported IR version: ") {
            let wanted = number_after("Unsupported model IR version: ")?;
            return Some(Self::FileFormat { wanted, known });
        }
        let known = number_after(" is till opset ")?;
        let wanted = number_after(" versions. Opset ")?;
        let (_, domain) = message.rsplit_once("support for domain ")?;
        let (domain, _) = domain.split_once(' ')?;
        Some(Self::Opset {
            domain: domain.to_string(),
            wanted,
            known,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        assert_eq!(clean(message), expected);
    }

    #[test]
    fn signatures_and_places_are_left_out() {
        check(
            "/onnxruntime_src/onnxruntime/core/graph/model.cc:245 \
             onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&, \
             const onnxruntime::ModelOptions&) Missing opset in the model.\n",
            "Missing opset in the model.",
        );
        check(
            "/a/b.h:46 void onnxruntime::f(const std::unordered_map<std::string, int>&, \
             bool) const [with T = std::vector<int>; U = bool] Opset 99 is new.",
            "Opset 99 is new.",
        );
        check(
            "/a/b.cc:1 onnxruntime::f(int)::<lambda(size_t, (x))> It failed.",
            "It failed.",
        );
        check(
            "/a/b.cc:1 auto (anonymous namespace)::f::operator()(int) const It (really) \
             failed.",
            "It (really) failed.",
        );
        check(
            "Load failed: graph.cc:4465 InjectExternal TensorProto: w is short",
            "Load failed: TensorProto: w is short",
        );
        check("tensor.cc:7", "");
    }

    #[test]
    fn conditions_are_left_out_where_words_follow() {
        check(
            "Non-zero status code returned while running Reshape node. Name:'r' Status \
             Message: /a/reshape_helper.h:91 \
             onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, \
             bool) a == b was false. The input cannot be reshaped. Input shape:{1,4}\n",
            "operator Reshape 'r': The input cannot be reshaped. Input shape:{1,4}",
        );
        check("/a/b.cc:1 void f() a == b was false.", "a == b was false.");
    }

    #[test]
    fn other_messages_stay() {
        for text in [
            "This is an invalid model. Error No Op registered for Foo",
            "Non-zero status code returned while running Foo",
            "see model.cc: there",
            "",
        ] {
            check(text, text);
        }
        check("/a/b.cc:1 (", "(");
        check("/a/b.cc:1 f(((", "f(((");
    }

    #[test]
    fn versions_are_told_apart() {
        let opset = "ONNX Runtime only *guarantees* support for models stamped with official \
            released onnx opset versions. Opset 99 is under development and support for this \
            is limited. Current official support for domain ai.onnx.ml is till opset 5.\n";
        let expected = Newer::Opset {
            domain: "ai.onnx.ml".to_string(),
            wanted: "99".to_string(),
            known: "5".to_string(),
        };
        assert_eq!(Newer::of(opset), Some(expected));
        let format = "Unsupported model IR version: 15, max supported IR version: 14\n";
        let expected = Newer::FileFormat {
            wanted: "15".to_string(),
            known: "14".to_string(),
        };
        assert_eq!(Newer::of(format), Some(expected));
        assert_eq!(Newer::of("No Op registered for Foo"), None);
    }
}
