//! The two passes with the instructions of AVX2. Sums are of pairs of products
//! (`vpmaddwd`) and exact, so that they are those of the portable code.

#![expect(unsafe_code, reason = "vectors are loaded and stored by address")]

use std::arch::x86_64::{
    __m256i, _mm_cvtsi32_si128, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_packus_epi16,
    _mm_storeu_si128, _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm256_add_epi32,
    _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cvtepu8_epi16,
    _mm256_extracti128_si256, _mm256_hadd_epi32, _mm256_madd_epi16, _mm256_packs_epi32,
    _mm256_packus_epi16, _mm256_set_m128i, _mm256_set1_epi32, _mm256_setzero_si256,
    _mm256_sra_epi32,
};

use super::super::weights::WeightWindow;

/// New pixels of two lines that are made at a time.
pub(super) const GROUP: usize = 4;

/// Columns of a row that are made at a time.
pub(super) const BLOCK: usize = 16;

/// As `super::weigh_columns`, for an even number of lines, at least [`GROUP`] columns and a
/// multiple of 8 weights.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn weigh_columns(
    numbers: &[i16],
    stride: usize,
    columns: WeightWindow<'_>,
    out: &mut [u8],
) {
    assert!(
        columns.reach() <= stride && numbers.len().is_multiple_of(2 * stride),
        "all weighed numbers are of the line"
    );
    match columns.taps {
        8 => narrow::<1>(numbers, stride, columns, out),
        16 => narrow::<2>(numbers, stride, columns, out),
        24 => narrow::<3>(numbers, stride, columns, out),
        _ => narrow::<0>(numbers, stride, columns, out),
    }
}

/// Narrows two lines at a time. Each takes one half of a register, because their weights
/// are the same. `PARTS` is how many times 8 weights a new pixel has, or 0 if it is only
/// known now.
///
/// The lines must have all numbers that are weighed.
#[target_feature(enable = "avx2")]
#[inline]
fn narrow<const PARTS: usize>(
    numbers: &[i16],
    stride: usize,
    columns: WeightWindow<'_>,
    out: &mut [u8],
) {
    let parts = if PARTS == 0 { columns.taps / 8 } else { PARTS };
    let (starts, shift) = (columns.starts, columns.shift);
    let weights = columns.values.as_chunks::<8>().0;
    let half = _mm256_set1_epi32(1 << (shift - 1));
    let count = _mm_cvtsi32_si128(shift as i32);
    let last = starts.len() - GROUP;
    // The last group overlaps the one before it.
    for left in (0..last).step_by(GROUP).chain([last]) {
        let weights = &weights[left * parts..(left + GROUP) * parts];
        let group = &starts[left..left + GROUP];
        let [w, x, y, z] = std::array::from_fn(|n| group[n] - starts[0]);
        let pairs = numbers.chunks_exact(2 * stride);
        for (lines, out) in pairs.zip(out.chunks_exact_mut(2 * starts.len())) {
            let w = sum(lines, stride, w, &weights[..parts]);
            let x = sum(lines, stride, x, &weights[parts..2 * parts]);
            let y = sum(lines, stride, y, &weights[2 * parts..3 * parts]);
            let z = sum(lines, stride, z, &weights[3 * parts..]);
            let (wx, yz) = (_mm256_hadd_epi32(w, x), _mm256_hadd_epi32(y, z));
            let sums = _mm256_add_epi32(_mm256_hadd_epi32(wx, yz), half);
            let sums = _mm256_sra_epi32(sums, count);
            let bytes = _mm256_packs_epi32(sums, sums);
            let bytes = _mm256_packus_epi16(bytes, bytes);
            let of_a = _mm_cvtsi128_si32(_mm256_castsi256_si128(bytes));
            let of_b = _mm_cvtsi128_si32(_mm256_extracti128_si256::<1>(bytes));
            out[left..left + GROUP].copy_from_slice(&of_a.to_le_bytes());
            out[starts.len() + left..][..GROUP].copy_from_slice(&of_b.to_le_bytes());
        }
    }
}

/// For each of two lines four sums, which together are the sum of all products of the
/// numbers from `start` on.
#[target_feature(enable = "avx2")]
#[inline]
fn sum(lines: &[i16], stride: usize, start: usize, weights: &[[i16; 8]]) -> __m256i {
    debug_assert!(start + 8 * weights.len() <= stride && lines.len() == 2 * stride);
    let mut sums = _mm256_setzero_si256();
    for (part, weights) in weights.iter().enumerate() {
        let start = start + 8 * part;
        // SAFETY: the caller has checked that both lines have the 8 numbers, and the
        // weights are an array of 8.
        let (a, b, weights) = unsafe {
            (
                _mm_loadu_si128(lines.as_ptr().add(start).cast()),
                _mm_loadu_si128(lines.as_ptr().add(stride + start).cast()),
                _mm_loadu_si128(weights.as_ptr().cast()),
            )
        };
        let pixels = _mm256_set_m128i(b, a);
        let weights = _mm256_broadcastsi128_si256(weights);
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pixels, weights));
    }
    sums
}

/// As `super::weigh_rows`, for rows of at least [`BLOCK`] bytes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn weigh_rows(rows: &[u8], weights: &[i16], shift: u32, out: &mut [u8]) {
    let stride = out.len();
    let count = weights.len().min(rows.len() / stride);
    let (pairs, single) = weights[..count].as_chunks::<2>();
    // The last of an odd number stands beside itself, without weight.
    let single = single.first().map(|weight| [*weight, 0]);
    let last = stride - BLOCK;
    // The last block overlaps the one before it.
    for left in (0..last).step_by(BLOCK).chain([last]) {
        let mut sums = [_mm256_set1_epi32(1 << (shift - 1)); 2];
        for (weights, rows) in pairs.iter().zip(rows.chunks_exact(2 * stride)) {
            let (a, b) = (&rows[left..][..BLOCK], &rows[stride + left..][..BLOCK]);
            add_two(&mut sums, [a, b], *weights);
        }
        if let Some(weights) = single {
            let row = &rows[(count - 1) * stride + left..][..BLOCK];
            add_two(&mut sums, [row, row], weights);
        }
        let count = _mm_cvtsi32_si128(shift as i32);
        let sums = sums.map(|sums| _mm256_sra_epi32(sums, count));
        store(sums, &mut out[left..left + BLOCK]);
    }
}

/// Adds the products of two rows with their weights to the sums of their columns.
#[target_feature(enable = "avx2")]
#[inline]
fn add_two(sums: &mut [__m256i; 2], [a, b]: [&[u8]; 2], weights: [i16; 2]) {
    let load = |row: &[u8]| {
        debug_assert_eq!(row.len(), BLOCK, "a row of a block");
        // SAFETY: the caller cut the row to the 16 bytes that are read.
        unsafe { _mm_loadu_si128(row.as_ptr().cast()) }
    };
    let (a, b) = (load(a), load(b));
    // The weight of the first row in the lower half.
    let pair = i32::from(weights[1]) << 16 | i32::from(weights[0] as u16);
    let weights = _mm256_set1_epi32(pair);
    let low = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
    let high = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, weights));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, weights));
}

/// Sixteen numbers as bytes, those outside as the nearest.
#[target_feature(enable = "avx2")]
#[inline]
fn store([low, high]: [__m256i; 2], out: &mut [u8]) {
    let pack = |sums: __m256i| {
        let words = _mm256_packs_epi32(sums, sums);
        // Each half has its four numbers twice.
        let (low, high) = (
            _mm256_castsi256_si128(words),
            _mm256_extracti128_si256::<1>(words),
        );
        std::arch::x86_64::_mm_unpacklo_epi64(low, high)
    };
    let bytes = _mm_packus_epi16(pack(low), pack(high));
    debug_assert_eq!(out.len(), BLOCK, "a row of a block");
    // SAFETY: the caller cut the row to the 16 bytes that are written.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) }
}
