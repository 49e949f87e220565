//! Sizes of memory and of files, as people write them.

/// Bytes with an optional unit, such as `512m`, `1.5 GiB` or `128MB`. Units are powers of
/// 1024, as for memory. `None` where the text is no size of at least one byte.
pub fn parse_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower[digits.len()..]
        .trim_end_matches('b')
        .trim_end_matches('i');
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let bytes = digits.trim().parse::<f64>().ok()? * (1_u64 << shift) as f64;
    // Beyond this the cast would be a guess, and no machine has as much.
    (bytes >= 1.0 && bytes < (1_u64 << 60) as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1g", 1 << 30),
            ("512m", 512 << 20),
            ("1.5KiB", 1536),
            ("2 tb", 2 << 40),
            ("7", 7),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_none() {
        for text in ["", "g", "1x", "-1g", "0", "0.5", "inf", "nan", "1e99"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
