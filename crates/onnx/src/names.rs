//! The names of classes as Python writes them.
//!
//! Exporters in Python write a dictionary or a list as its `repr`, such as
//! `{0: 'person', 1: "driver's seat"}`; JSON's lists and objects are read as well.

use std::iter::Peekable;
use std::str::Chars;

/// The names in the order of their classes, or `None` where the text is something else
/// or leaves out a class.
pub(crate) fn parse(text: &str) -> Option<Vec<String>> {
    let mut reader = NameReader(text.chars().peekable());
    let names = match reader.next()? {
        '{' => in_order(reader.entries()?)?,
        '[' => reader.items(']')?,
        '(' => reader.items(')')?,
        _ => return None,
    };
    (reader.next().is_none()).then_some(names)
}

/// Names by their numbers, which must be all from 0 on.
fn in_order(mut entries: Vec<(usize, String)>) -> Option<Vec<String>> {
    entries.sort_by_key(|(number, _)| *number);
    let numbers = entries.iter().map(|(number, _)| *number);
    let is_complete = numbers.eq(0..entries.len());
    is_complete.then(|| entries.into_iter().map(|(_, name)| name).collect())
}

/// Reads the literals that Python or JSON has for a list or a dictionary of names.
struct NameReader<'a>(Peekable<Chars<'a>>);

impl NameReader<'_> {
    /// The next character that is no space.
    fn next(&mut self) -> Option<char> {
        self.skip_spaces();
        self.0.next()
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_spaces();
        self.0.peek().copied()
    }

    fn skip_spaces(&mut self) {
        while self.0.next_if(|c| c.is_whitespace()).is_some() {}
    }

    fn entries(&mut self) -> Option<Vec<(usize, String)>> {
        let mut entries = Vec::new();
        loop {
            if self.peek()? == '}' {
                self.next();
                return Some(entries);
            }
            // JSON has only text for a key.
            let number = match self.peek()? {
                '\'' | '"' => self.text()?.parse().ok()?,
                _ => self.number()?,
            };
            (self.next()? == ':').then_some(())?;
            entries.push((number, self.text()?));
            self.separator('}')?;
        }
    }

    fn items(&mut self, end: char) -> Option<Vec<String>> {
        let mut items = Vec::new();
        loop {
            if self.peek()? == end {
                self.next();
                return Some(items);
            }
            items.push(self.text()?);
            self.separator(end)?;
        }
    }

    /// A comma, which may be missing before the end.
    fn separator(&mut self, end: char) -> Option<()> {
        match self.peek()? {
            ',' => self.next().map(drop),
            c => (c == end).then_some(()),
        }
    }

    fn number(&mut self) -> Option<usize> {
        let mut digits = String::new();
        while let Some(digit) = self.0.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits.parse().ok()
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut text = String::new();
        loop {
            match self.0.next()? {
                c if c == quote => return Some(text),
                '\\' => match self.0.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'x' => text.push(self.code(2)?),
                    'u' => text.push(self.utf16()?),
                    'U' => text.push(self.code(8)?),
                    c => text.push(c),
                },
                c => text.push(c),
            }
        }
    }

    fn code(&mut self, digits: usize) -> Option<char> {
        char::from_u32(self.hexadecimal(digits)?)
    }

    /// JSON writes a character beyond the first 65,536 as two.
    fn utf16(&mut self) -> Option<char> {
        let first = self.hexadecimal(4)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        (self.0.next()? == '\\' && self.0.next()? == 'u').then_some(())?;
        let second = self.hexadecimal(4)?.checked_sub(0xdc00)?;
        (second < 0x400).then_some(())?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
    }

    fn hexadecimal(&mut self, digits: usize) -> Option<u32> {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.0.next()?.to_digit(16)?;
        }
        Some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[&str]>) {
        let names = parse(text);
        let names: Option<Vec<&str>> = names
            .as_ref()
            .map(|names| names.iter().map(String::as_str).collect());
        assert_eq!(names.as_deref(), expected, "{text}");
    }

    #[test]
    fn dictionaries_and_lists_of_python() {
        check("{0: 'person', 1: 'bicycle'}", Some(&["person", "bicycle"]));
        check("{1: 'b', 0: 'a',}", Some(&["a", "b"]));
        check("['a', \"b\"]", Some(&["a", "b"]));
        check("('a', 'b')", Some(&["a", "b"]));
        check("{}", Some(&[]));
    }

    #[test]
    fn quotes_and_escapes() {
        check(
            r#"{0: "it's", 1: 'it\'s', 2: 'say "x"'}"#,
            Some(&["it's", "it's", "say \"x\""]),
        );
        check(
            r"['a, b: {c}', 'x\\y', 'l1\nl2']",
            Some(&["a, b: {c}", "x\\y", "l1\nl2"]),
        );
        check(r"['\xe9', '\u00e9', '\U0001f600']", Some(&["é", "é", "😀"]));
    }

    #[test]
    fn json_is_read_too() {
        check(r#"{"0": "a", "1": "b"}"#, Some(&["a", "b"]));
        check(r#"["\ud83d\ude00"]"#, Some(&["😀"]));
    }

    #[test]
    fn a_class_that_is_left_out_makes_the_names_useless() {
        check("{0: 'a', 2: 'c'}", None);
        check("{1: 'a'}", None);
        check("{0: 'a', 0: 'b'}", None);
        check("{99999999999999999999999: 'a'}", None);
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in [
            "",
            "{",
            "[",
            "person",
            "{0: 'a'",
            "{0: 'a'} x",
            "{0 'a'}",
            "{0: 7}",
            "['a' 'b']",
            "{0: 'a",
            r"['\ud83d']",
            r"['\xzz']",
            r"['\ud83d\u0000']",
            r"['\U00110000']",
        ] {
            check(text, None);
        }
    }
}
