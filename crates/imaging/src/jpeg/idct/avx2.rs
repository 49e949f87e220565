//! The transform with the instructions of AVX2: eight columns in 16 bits at a time.
//!
//! Every factor is multiplied and summed in pairs (`vpmaddwd`), as `jidctint-avx2.asm` of
//! libjpeg-turbo does, with the sums that its odd part shares multiplied out. Products
//! are exact and sums wrap, so that the portable transform gives the same.

#![expect(unsafe_code, reason = "vectors are loaded and stored by address")]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_packs_epi16, _mm_set1_epi8, _mm_storel_epi64,
    _mm_unpackhi_epi16, _mm_unpackhi_epi64, _mm_unpacklo_epi16, _mm_xor_si128,
    _mm256_add_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_packs_epi32, _mm256_permute4x64_epi64, _mm256_set_m128i,
    _mm256_set1_epi32, _mm256_srai_epi32, _mm256_sub_epi32,
};

type Rows = [__m128i; 8];

/// As `super::idct`, for blocks of any coefficients.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn idct(coefficients: &[i16; 64], out: &mut [u8], stride: usize) {
    let out = &mut out[..7 * stride + 8];
    let rows = coefficients.as_chunks::<8>().0;
    let rows: Rows = std::array::from_fn(|n| {
        // SAFETY: the array has the 16 bytes that are read, at any alignment.
        unsafe { _mm_loadu_si128((&raw const rows[n]).cast()) }
    });
    let rows = transpose(pass::<11>(rows));
    let rows = transpose(pass::<18>(rows));
    for (n, rows) in rows.as_chunks::<2>().0.iter().enumerate() {
        // From -128..128 to 0..256.
        let bytes = _mm_packs_epi16(rows[0], rows[1]);
        let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(-128));
        let (upper, lower) = (2 * n * stride, (2 * n + 1) * stride);
        // SAFETY: the last of the eight rows ends with `out`, and 8 bytes are written to
        // each, at any alignment.
        unsafe {
            _mm_storel_epi64(out.as_mut_ptr().add(upper).cast(), bytes);
            let bytes = _mm_unpackhi_epi64(bytes, bytes);
            _mm_storel_epi64(out.as_mut_ptr().add(lower).cast(), bytes);
        }
    }
}

/// Two rows next to each other, number by number.
#[target_feature(enable = "avx2")]
#[inline]
fn pair(a: __m128i, b: __m128i) -> __m256i {
    _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b))
}

/// The first row of a pair times `a` and the second times `b`.
#[target_feature(enable = "avx2")]
#[inline]
fn sum(pair: __m256i, a: i16, b: i16) -> __m256i {
    let factors = i32::from(b) << 16 | i32::from(a as u16);
    _mm256_madd_epi16(pair, _mm256_set1_epi32(factors))
}

#[target_feature(enable = "avx2")]
#[inline]
fn pass<const SHIFT: i32>(rows: Rows) -> Rows {
    let [in0, in1, in2, in3, in4, in5, in6, in7] = rows;
    // The factors are those of the portable pass, multiplied out.
    let (even, middle) = (pair(in0, in4), pair(in2, in6));
    let (tmp0, tmp1) = (sum(even, 8_192, 8_192), sum(even, 8_192, -8_192));
    let (tmp2, tmp3) = (sum(middle, 4_433, -10_704), sum(middle, 10_703, 4_433));
    let half = _mm256_set1_epi32(1 << (SHIFT - 1));
    let (tmp0, tmp1) = (_mm256_add_epi32(tmp0, half), _mm256_add_epi32(tmp1, half));
    let (tmp10, tmp13) = (_mm256_add_epi32(tmp0, tmp3), _mm256_sub_epi32(tmp0, tmp3));
    let (tmp11, tmp12) = (_mm256_add_epi32(tmp1, tmp2), _mm256_sub_epi32(tmp1, tmp2));

    let (outer, inner) = (pair(in7, in1), pair(in5, in3));
    let odd = |a, b, c, d| _mm256_add_epi32(sum(outer, a, b), sum(inner, c, d));
    let tmp0 = odd(-11_363, 2_260, 9_633, -6_436);
    let tmp1 = odd(9_633, 6_437, 2_261, -11_362);
    let tmp2 = odd(-6_436, 9_633, -11_362, -2_259);
    let tmp3 = odd(2_260, 11_363, 6_437, 9_633);

    let both = |even, odd| {
        let high = _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(even, odd));
        let low = _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(even, odd));
        let packed = _mm256_packs_epi32(high, low);
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
        (
            _mm256_castsi256_si128(packed),
            _mm256_extracti128_si256::<1>(packed),
        )
    };
    let (out0, out7) = both(tmp10, tmp3);
    let (out1, out6) = both(tmp11, tmp2);
    let (out2, out5) = both(tmp12, tmp1);
    let (out3, out4) = both(tmp13, tmp0);
    [out0, out1, out2, out3, out4, out5, out6, out7]
}

/// Three riffles of the upper four rows into the lower four turn rows into columns: each
/// moves a bit of a number's place from its row to its column.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(rows: Rows) -> Rows {
    riffle(riffle(riffle(rows)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn riffle([a, b, c, d, e, f, g, h]: Rows) -> Rows {
    [
        _mm_unpacklo_epi16(a, e),
        _mm_unpackhi_epi16(a, e),
        _mm_unpacklo_epi16(b, f),
        _mm_unpackhi_epi16(b, f),
        _mm_unpacklo_epi16(c, g),
        _mm_unpackhi_epi16(c, g),
        _mm_unpacklo_epi16(d, h),
        _mm_unpackhi_epi16(d, h),
    ]
}
