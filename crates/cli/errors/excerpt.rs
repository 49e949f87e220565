//! The line of a statement that an error is about, with the place underlined.

use std::ops::Range;

use crate::terminal::text_width;

/// A line and a place in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Excerpt {
    /// From 1, in the statement, or in the script once that is known.
    pub(crate) line: usize,
    text: String,
    /// Bytes of `text`.
    place: Range<usize>,
}

impl Excerpt {
    /// The place is a range of bytes; what goes beyond its first line is not shown.
    pub(crate) fn new(statement: &str, place: Range<usize>) -> Self {
        let start = statement[..place.start].rfind('\n').map_or(0, |at| at + 1);
        let length = statement[start..].find('\n');
        let end = length.map_or(statement.len(), |length| start + length);
        let text = &statement[start..end];
        let inside = place.start - start..place.end.min(end) - start;
        Self {
            line: 1 + statement[..start].matches('\n').count(),
            text: text.to_string(),
            place: inside,
        }
    }

    /// Two lines, no wider than `width`; the second has one `^` a column at least.
    pub(super) fn render(&self, width: usize, color: &str, reset: &str) -> String {
        let number = format!("{:>3}", self.line);
        let room = width.saturating_sub(number.len() + 3).max(20);
        let (before, place, after) = self.window(room);
        let pad = " ".repeat(text_width(&before));
        let mark = "^".repeat(text_width(&place).max(1));
        let gutter = " ".repeat(number.len());
        format!("{number} │ {before}{place}{after}\n{gutter} │ {pad}{color}{mark}{reset}")
    }

    /// The parts before, at and after the place, cut to the room there is.
    fn window(&self, room: usize) -> (String, String, String) {
        let clean = |text: &str| text.replace('\t', "    ").replace('\r', "");
        let mut before = clean(&self.text[..self.place.start]);
        let mut place = clean(&self.text[self.place.clone()]);
        let mut after = clean(&self.text[self.place.end..]);
        let all = text_width(&before) + text_width(&place) + text_width(&after);
        if all <= room {
            return (before, place, after);
        }
        // The place is worth more than what surrounds it, and what precedes it says
        // more about it than what follows.
        place = first(&place, room.saturating_sub(2), "…");
        let left = room - text_width(&place);
        let follows = text_width(&after).min(left / 3);
        before = last(&before, left - follows);
        let left = left - text_width(&before);
        after = first(&after, left, "…");
        (before, place, after)
    }
}

/// The start of a text, with a mark where it was cut.
fn first(text: &str, width: usize, mark: &str) -> String {
    console::truncate_str(text, width, mark).into_owned()
}

/// The end of a text, with a mark where it was cut.
fn last(text: &str, width: usize) -> String {
    if text_width(text) <= width {
        return text.to_string();
    }
    let mut left = width.saturating_sub(1);
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        let taken = text_width(c.encode_utf8(&mut [0; 4]));
        if taken > left {
            break;
        }
        left -= taken;
        start = at;
    }
    format!("…{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(statement: &str, place: &str, width: usize, expected: &str) {
        let start = statement.find(place).unwrap();
        let excerpt = Excerpt::new(statement, start..start + place.len());
        assert_eq!(excerpt.render(width, "<", ">"), expected);
    }

    #[test]
    fn the_place_is_underlined() {
        check(
            "SELECT a,\n  nope\nFROM t",
            "nope",
            80,
            "  2 │   nope\n    │   <^^^^>",
        );
    }

    #[test]
    fn wide_characters_and_tabs_keep_the_mark_in_place() {
        check(
            "SELECT '日本',\tnope",
            "nope",
            80,
            "  1 │ SELECT '日本',    nope\n    │                   <^^^^>",
        );
    }

    #[test]
    fn the_end_and_several_lines_have_a_mark_too() {
        let excerpt = Excerpt::new("SELECT (1\n+ 2", 13..13);
        assert_eq!(excerpt.render(80, "", ""), "  2 │ + 2\n    │    ^");
        let excerpt = Excerpt::new("SELECT (1\n+ 2", 7..13);
        assert_eq!(
            excerpt.render(80, "", ""),
            "  1 │ SELECT (1\n    │        ^^"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let long = format!("SELECT {}nope{}", "a, ".repeat(100), ", b".repeat(100));
        let start = long.find("nope").unwrap();
        let text = Excerpt::new(&long, start..start + 4).render(60, "", "");
        let lines: Vec<&str> = text.lines().collect();
        assert!(text_width(lines[0]) <= 60, "{text}");
        let at = |line: &str, what| {
            let bytes = line.find(what).unwrap();
            text_width(&line[..bytes])
        };
        assert_eq!(at(lines[0], "nope"), at(lines[1], "^^^^"), "{text}");
        assert!(
            lines[0].contains(" │ …") && lines[0].ends_with('…'),
            "{text}"
        );
    }
}
