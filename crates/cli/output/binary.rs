//! Describes binary values for people: `<8.2 KiB PNG 451x300>` instead of the bytes.

use std::fmt::Write;

/// How many bytes a value must have before its kind is told by its first bytes.
const SMALLEST_FILE: usize = 24;
/// How many bytes are shown of a value of no known kind.
const START: usize = 4;
/// The largest number of a field of an ONNX file, `ModelProto`.
const LAST_ONNX_FIELD: u64 = 26;
/// The field of an ONNX file that holds the network, without which there is none.
const ONNX_GRAPH: u64 = 7;

/// Says what bytes are: `<8.2 KiB PNG 451x300>`, or how they begin.
///
/// Only headers are read, so that a column of photos costs microseconds a row.
pub(super) fn describe(bytes: &[u8], text: &mut String) {
    text.push('<');
    push_size(bytes.len(), text);
    // Writing to a string cannot fail, here and below.
    if bytes.len() >= SMALLEST_FILE {
        if let Ok(info) = atoll_imaging::info(bytes) {
            let name = info.format.name().to_ascii_uppercase();
            let _ = write!(text, " {name} {}x{}>", info.width, info.height);
            return;
        }
        if is_onnx(bytes) {
            text.push_str(" ONNX>");
            return;
        }
    }
    for (n, byte) in bytes.iter().take(START).enumerate() {
        text.push_str(if n > 0 { "" } else { " " });
        let _ = write!(text, "{byte:02x}");
    }
    text.push_str(if bytes.len() > START { "…>" } else { ">" });
}

fn push_size(bytes: usize, text: &mut String) {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let _ = match bytes {
        1 => write!(text, "1 byte"),
        0..1024 => write!(text, "{bytes} bytes"),
        _ => {
            let mut size = bytes as f64 / 1024.0;
            let mut unit = 0;
            while size >= 1024.0 && unit + 1 < UNITS.len() {
                size /= 1024.0;
                unit += 1;
            }
            write!(text, "{size:.1} {}", UNITS[unit])
        }
    };
}

/// Whether these are the fields of an ONNX model, to the last byte, its network among
/// them. An ONNX file has no magic number; what is inside the fields is passed over.
fn is_onnx(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut has_graph = false;
    while !rest.is_empty() {
        let Some((field, after)) = skip_field(rest) else {
            return false;
        };
        has_graph |= field == ONNX_GRAPH;
        rest = after;
    }
    has_graph
}

/// The number of the first field of a protobuf message, and what follows it.
fn skip_field(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const NUMBER: u64 = 0;
    const LENGTH: u64 = 2;
    let (tag, rest) = varint(bytes)?;
    let field = tag >> 3;
    if field == 0 || field > LAST_ONNX_FIELD {
        return None;
    }
    match tag & 7 {
        // Of the fields with this many bytes the graph is one, of the numbers not.
        NUMBER if field != ONNX_GRAPH => varint(rest).map(|(_, rest)| (field, rest)),
        LENGTH => {
            let (length, rest) = varint(rest)?;
            let rest = rest.get(usize::try_from(length).ok()?..)?;
            Some((field, rest))
        }
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (n, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[n + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let mut text = String::new();
        describe(bytes, &mut text);
        assert_eq!(text, expected);
    }

    #[test]
    fn short_bytes_are_shown() {
        check(b"", "<0 bytes>");
        check(b"a", "<1 byte 61>");
        check(b"abcd", "<4 bytes 61626364>");
        check(b"\x89\x50\x4e\x47abcdefgh", "<12 bytes 89504e47…>");
    }

    #[test]
    fn sizes_have_units() {
        check(&[0xab; 1023], "<1023 bytes abababab…>");
        check(&[0xab; 8400], "<8.2 KiB abababab…>");
    }

    #[test]
    fn images_are_named_with_their_size() {
        let image = atoll_imaging::Image {
            width: 3,
            height: 2,
            channels: 1,
            data: vec![0; 6],
        };
        let png = atoll_imaging::encode(image.as_ref(), atoll_imaging::Format::Png);
        let png = png.unwrap();
        check(&png, &format!("<{} bytes PNG 3x2>", png.len()));
    }

    #[test]
    fn a_broken_image_is_bytes() {
        check(
            b"\xff\xd8\xff\xe0 not a photo at all, though it begins like one",
            "<50 bytes ffd8ffe0…>",
        );
    }

    #[test]
    fn onnx_is_recognised_by_its_fields() {
        let mut model = vec![0x08, 8, 0x12, 5];
        model.extend_from_slice(b"atoll");
        model.extend_from_slice(&[0x3a, 20]);
        model.extend_from_slice(&[1; 20]);
        check(&model, "<31 bytes ONNX>");
        // One byte short, and without the network.
        check(&model[..30], "<30 bytes 08081205…>");
        let mut other = model;
        other[9] = 0x12;
        check(&other, "<31 bytes 08081205…>");
    }
}
