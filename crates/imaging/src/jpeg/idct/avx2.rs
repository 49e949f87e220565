//! The transform with the instructions of AVX2: eight columns at a time.
//!
//! Numbers of 16 bits stand in pairs, as every factor is multiplied and summed in pairs
//! (`vpmaddwd`), which is how `jidctint-avx2.asm` of libjpeg-turbo computes it, with the
//! sums that its odd part shares multiplied out. Products are exact and sums wrap, so that
//! the portable transform gives the same.

#![expect(unsafe_code, reason = "vectors are loaded and stored by address")]

use std::arch::x86_64::{
    __m256i, _mm_castsi128_pd, _mm_storeh_pd, _mm_storel_epi64, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_packs_epi16, _mm256_packs_epi32, _mm256_permute2x128_si256,
    _mm256_set1_epi8, _mm256_set1_epi32, _mm256_setr_epi8, _mm256_shuffle_epi8,
    _mm256_srai_epi32, _mm256_sub_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

/// Pairs of rows of 16 bits, number by number, as in [`super::ORDER`].
type Pairs = [__m256i; 4];

/// As `super::idct`, for blocks of any coefficients.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn idct(coefficients: &[i16; 64], out: &mut [u8], stride: usize) {
    let out = &mut out[..7 * stride + 8];
    let rows = coefficients.as_chunks::<16>().0;
    let rows: Pairs = std::array::from_fn(|n| {
        // SAFETY: the array has the 32 bytes that are read, at any alignment.
        unsafe { _mm256_loadu_si256((&raw const rows[n]).cast()) }
    });
    let columns = transpose(pass::<11>(rows));
    for (n, rows) in bytes(pass::<18>(columns)).into_iter().enumerate() {
        let mut store = |rows, first: usize| {
            // SAFETY: the last of the eight rows ends with `out`, and 8 bytes are written
            // to each, at any alignment.
            unsafe {
                let row = out.as_mut_ptr().add(first * stride);
                _mm_storel_epi64(row.cast(), rows);
                _mm_storeh_pd(row.add(stride).cast(), _mm_castsi128_pd(rows));
            }
        };
        store(_mm256_castsi256_si128(rows), 2 * n);
        store(_mm256_extracti128_si256::<1>(rows), 2 * n + 4);
    }
}

/// The first row of a pair times `a` and the second times `b`.
#[target_feature(enable = "avx2")]
#[inline]
fn sum(pair: __m256i, a: i16, b: i16) -> __m256i {
    let factors = i32::from(b) << 16 | i32::from(a as u16);
    _mm256_madd_epi16(pair, _mm256_set1_epi32(factors))
}

/// One pass, which gives eight rows of 32 bits.
#[target_feature(enable = "avx2")]
#[inline]
fn pass<const SHIFT: i32>([even, middle, outer, inner]: Pairs) -> [__m256i; 8] {
    // The factors are those of the portable pass, multiplied out.
    let (tmp0, tmp1) = (sum(even, 8_192, 8_192), sum(even, 8_192, -8_192));
    let (tmp2, tmp3) = (sum(middle, 4_433, -10_704), sum(middle, 10_703, 4_433));
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let (tmp0, tmp1) = (_mm256_add_epi32(tmp0, half), _mm256_add_epi32(tmp1, half));
    let (tmp10, tmp13) = (_mm256_add_epi32(tmp0, tmp3), _mm256_sub_epi32(tmp0, tmp3));
    let (tmp11, tmp12) = (_mm256_add_epi32(tmp1, tmp2), _mm256_sub_epi32(tmp1, tmp2));

    let odd = |a, b, c, d| _mm256_add_epi32(sum(outer, a, b), sum(inner, c, d));
    let tmp0 = odd(-11_363, 2_260, 9_633, -6_436);
    let tmp1 = odd(9_633, 6_437, 2_261, -11_362);
    let tmp2 = odd(-6_436, 9_633, -11_362, -2_259);
    let tmp3 = odd(2_260, 11_363, 6_437, 9_633);

    let plus = |even, odd| _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even, odd));
    let minus = |even, odd| _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even, odd));
    [
        plus(tmp10, tmp3),
        plus(tmp11, tmp2),
        plus(tmp12, tmp1),
        plus(tmp13, tmp0),
        minus(tmp13, tmp0),
        minus(tmp12, tmp1),
        minus(tmp11, tmp2),
        minus(tmp10, tmp3),
    ]
}

/// Turns rows, whose numbers are in the order of [`super::ORDER`], into pairs of columns:
/// a pair of numbers moves as one.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(rows: [__m256i; 8]) -> Pairs {
    // Two pairs of each of two rows in either half.
    let rows: [__m256i; 4] =
        std::array::from_fn(|n| _mm256_packs_epi32(rows[n], rows[n + 4]));
    let upper = _mm256_unpacklo_epi32(rows[0], rows[1]);
    let upper = (upper, _mm256_unpacklo_epi32(rows[2], rows[3]));
    let lower = _mm256_unpackhi_epi32(rows[0], rows[1]);
    let lower = (lower, _mm256_unpackhi_epi32(rows[2], rows[3]));
    let even_outer = (
        _mm256_unpacklo_epi64(upper.0, upper.1),
        _mm256_unpacklo_epi64(lower.0, lower.1),
    );
    let middle_inner = (
        _mm256_unpackhi_epi64(upper.0, upper.1),
        _mm256_unpackhi_epi64(lower.0, lower.1),
    );
    [
        _mm256_permute2x128_si256::<0x20>(even_outer.0, even_outer.1),
        _mm256_permute2x128_si256::<0x20>(middle_inner.0, middle_inner.1),
        _mm256_permute2x128_si256::<0x31>(even_outer.0, even_outer.1),
        _mm256_permute2x128_si256::<0x31>(middle_inner.0, middle_inner.1),
    ]
}

/// Turns columns into rows of bytes, from -128..128 to 0..256: rows 0, 1, 4 and 5, then
/// rows 2, 3, 6 and 7.
#[target_feature(enable = "avx2")]
#[inline]
fn bytes(columns: [__m256i; 8]) -> [__m256i; 2] {
    let rows = _mm256_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, //
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,
    );
    let four = |a, b, c, d| {
        let words =
            _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        let bytes = _mm256_xor_si256(words, _mm256_set1_epi8(-128));
        _mm256_shuffle_epi8(bytes, rows)
    };
    let [a, b, c, d, e, f, g, h] = columns;
    let (left, right) = (four(a, b, c, d), four(e, f, g, h));
    [
        _mm256_unpacklo_epi32(left, right),
        _mm256_unpackhi_epi32(left, right),
    ]
}
