//! The vector operations of AVX-512.
//!
//! A value of the type proves that the CPU has the instructions, so the intrinsics that
//! only compute are sound wherever one exists.
#![expect(
    unsafe_code,
    reason = "intrinsics are unsafe outside of their own level"
)]

use std::arch::x86_64::*;

use super::product::Product;
use super::simd::{Kernel, Simd};

/// AVX-512F: 32 registers of 16 numbers.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Runs a kernel with AVX-512F.
#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Whether the CPU has what [`run_avx512`] needs.
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn product_avx512(simd: Avx512, product: &Product) {
    // SAFETY: the caller's promise is the same.
    unsafe { product.run(simd) }
}

/// The mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count.min(16)) - 1) as __mmask16
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 3;
    type Vector = __m512;
    type Mask = __mmask16;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn power_of_two(self, n: __m512) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe {
            let exponent =
                _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn relu(self, x: __m512) -> __m512 {
        // The instruction returns its second operand if one of them is NaN.
        // SAFETY: `self` proves the level.
        unsafe { _mm512_max_ps(_mm512_setzero_ps(), x) }
    }

    #[inline(always)]
    fn greater(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b) }
    }

    #[inline(always)]
    fn greater_or_nan(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: `self` proves the level.
        unsafe {
            _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b)
                | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a)
        }
    }

    #[inline(always)]
    fn equal(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }

    #[inline(always)]
    fn select(self, mask: __mmask16, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: `self` proves the level.
        unsafe { _mm512_mask_mov_ps(no, mask, yes) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the caller promises the memory, `self` the level.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, vector: __m512) {
        // SAFETY: the caller promises the memory, `self` the level.
        unsafe { _mm512_storeu_ps(to, vector) }
    }

    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m512 {
        // SAFETY: only the first `count` values are read.
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, vector: __m512, count: usize) {
        // SAFETY: only the first `count` values are written.
        unsafe { _mm512_mask_storeu_ps(to, first(count), vector) }
    }

    #[inline(always)]
    unsafe fn load_bytes(self, from: *const u8, count: usize) -> __m512 {
        let mut bytes = [0_u8; 16];
        // SAFETY: the caller promises `count` bytes, and no more than 16 are copied.
        unsafe {
            let bytes = if count >= 16 {
                _mm_loadu_si128(from.cast())
            } else {
                std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count);
                _mm_loadu_si128(bytes.as_ptr().cast())
            };
            _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, vector: __m512, count: usize) {
        // SAFETY: only the first `count` bytes are written.
        unsafe {
            let numbers = _mm512_cvttps_epi32(vector);
            _mm512_mask_cvtepi32_storeu_epi8(to.cast(), first(count), numbers);
        }
    }

    #[inline(always)]
    unsafe fn transpose(
        self,
        from: *const f32,
        from_row: usize,
        to: *mut f32,
        to_row: usize,
    ) {
        // SAFETY: the caller promises 16 rows of 16 values on both sides.
        unsafe {
            let mut rows = [_mm512_setzero_ps(); 16];
            for (row, vector) in rows.iter_mut().enumerate() {
                *vector = _mm512_loadu_ps(from.add(row * from_row));
            }
            // Within each group of four rows, squares of four values are transposed.
            let mut fours = [_mm512_setzero_ps(); 16];
            for group in [0, 4, 8, 12] {
                let [a, b, c, d] = [
                    rows[group],
                    rows[group + 1],
                    rows[group + 2],
                    rows[group + 3],
                ];
                let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
                fours[group] = _mm512_shuffle_ps::<0x44>(ab, cd);
                fours[group + 1] = _mm512_shuffle_ps::<0xee>(ab, cd);
                let (ab, cd) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
                fours[group + 2] = _mm512_shuffle_ps::<0x44>(ab, cd);
                fours[group + 3] = _mm512_shuffle_ps::<0xee>(ab, cd);
            }
            // Then the squares themselves change places.
            for row in 0..4 {
                let [a, b] = [fours[row], fours[row + 4]];
                let [c, d] = [fours[row + 8], fours[row + 12]];
                let (ab, cd) = (
                    _mm512_shuffle_f32x4::<0x88>(a, b),
                    _mm512_shuffle_f32x4::<0x88>(c, d),
                );
                let even = _mm512_shuffle_f32x4::<0x88>(ab, cd);
                _mm512_storeu_ps(to.add(row * to_row), even);
                let even = _mm512_shuffle_f32x4::<0xdd>(ab, cd);
                _mm512_storeu_ps(to.add((row + 8) * to_row), even);
                let (ab, cd) = (
                    _mm512_shuffle_f32x4::<0xdd>(a, b),
                    _mm512_shuffle_f32x4::<0xdd>(c, d),
                );
                let odd = _mm512_shuffle_f32x4::<0x88>(ab, cd);
                _mm512_storeu_ps(to.add((row + 4) * to_row), odd);
                let odd = _mm512_shuffle_f32x4::<0xdd>(ab, cd);
                _mm512_storeu_ps(to.add((row + 12) * to_row), odd);
            }
        }
    }

    #[inline(always)]
    unsafe fn product(self, product: &Product) {
        // SAFETY: the caller's promise is the same, `self` proves the level.
        unsafe { product_avx512(self, product) }
    }
}
