//! Messages of protocol buffers as they are on the wire: a list of numbered fields.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

use prost::{decode_length_delimiter, encode_length_delimiter};

/// How the value of a field is written, in the low three bits of its key.
const VARINT: usize = 0;
const FIXED_64: usize = 1;
const DELIMITED: usize = 2;
const FIXED_32: usize = 5;

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Its number in the message's description.
    pub(crate) number: u32,
    /// Its key and its value.
    pub(crate) whole: &'a [u8],
    /// Its value; of text, bytes and messages without the length before.
    pub(crate) value: &'a [u8],
}

/// The fields of a message in the order they are written. An error ends them.
pub(crate) fn fields(
    message: &[u8],
) -> impl Iterator<Item = Result<Field<'_>, String>> + '_ {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(|| "it was cut short".to_string()))
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *rest;
    let key = decode_length_delimiter(&mut *rest).ok()?;
    let mut before = *rest;
    let length = match key & 7 {
        VARINT => {
            decode_length_delimiter(&mut *rest).ok()?;
            let length = before.len() - rest.len();
            *rest = before;
            length
        }
        FIXED_64 => 8,
        FIXED_32 => 4,
        DELIMITED => {
            let length = decode_length_delimiter(&mut *rest).ok()?;
            before = rest;
            length
        }
        // Groups, which nobody writes any more.
        _ => return None,
    };
    let value = before.get(..length)?;
    *rest = &before[length..];
    Some(Field {
        number: u32::try_from(key >> 3).ok()?,
        whole: &start[..start.len() - rest.len()],
        value,
    })
}

/// Writes a field of text, bytes or a message.
pub(crate) fn put(message: &mut Vec<u8>, number: u32, value: &[u8]) {
    varint(message, number as usize * 8 + DELIMITED);
    varint(message, value.len());
    message.extend_from_slice(value);
}

/// Writes a field of a whole number.
pub(crate) fn put_number(message: &mut Vec<u8>, number: u32, value: u64) {
    varint(message, number as usize * 8 + VARINT);
    varint(message, value as usize);
}

fn varint(message: &mut Vec<u8>, value: usize) {
    // A vector has room for all numbers.
    let _ = encode_length_delimiter(value, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_that_were_written() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        put(&mut message, 20, b"some text");
        message.extend([0x1d, 1, 2, 3, 4]);
        message.extend([0x21, 1, 2, 3, 4, 5, 6, 7, 8]);
        let found: Vec<_> = fields(&message).map(Result::unwrap).collect();
        let seen: Vec<_> = found.iter().map(|f| (f.number, f.value.len())).collect();
        assert_eq!(seen, [(1, 2), (20, 9), (3, 4), (4, 8)]);
        assert_eq!(found[1].value, b"some text");
        let whole: Vec<u8> = found.iter().flat_map(|f| f.whole.to_vec()).collect();
        assert_eq!(whole, message);
    }

    #[test]
    fn a_message_that_was_cut_short_is_an_error() {
        let mut message = Vec::new();
        put(&mut message, 1, b"abc");
        put(&mut message, 2, b"some text");
        for length in 1..message.len() {
            let all: Result<Vec<_>, _> = fields(&message[..length]).collect();
            assert_eq!(all.is_ok(), length == 5, "{length}");
        }
    }
}
