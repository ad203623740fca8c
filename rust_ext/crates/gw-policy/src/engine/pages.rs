//! Words that are read all over the place, on large pages where the system has them: with small ones the processor
//! looks up where a page is more often than it reads.
use std::ops::{Deref, DerefMut};

/// A fixed number of words, zeroes at first.
#[derive(Debug, Default)]
pub struct Pages(Memory);

impl Pages {
    pub fn zeroed(words: usize) -> Self {
        Self(Memory::zeroed(words))
    }
}

impl From<&[u32]> for Pages {
    fn from(words: &[u32]) -> Self {
        let mut new = Self::zeroed(words.len());
        new.copy_from_slice(words);
        new
    }
}

impl Deref for Pages {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        self.0.words()
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u32] {
        self.0.words_mut()
    }
}

impl AsRef<[u32]> for Pages {
    fn as_ref(&self) -> &[u32] {
        self
    }
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug, Default)]
struct Memory(Vec<u32>);

#[cfg(not(target_os = "linux"))]
impl Memory {
    fn zeroed(words: usize) -> Self {
        Self(vec![0; words])
    }

    fn words(&self) -> &[u32] {
        &self.0
    }

    fn words_mut(&mut self) -> &mut [u32] {
        &mut self.0
    }
}

#[cfg(target_os = "linux")]
use linux::Memory;

#[cfg(target_os = "linux")]
mod linux {
    use std::alloc::{Layout, handle_alloc_error};
    use std::ptr::{NonNull, null_mut};

    const LARGE_PAGE: usize = 1 << 21;

    /// A mapping of its own: what an allocator hands out may have been touched before, and so lie on small pages.
    #[derive(Debug)]
    pub struct Memory {
        mapping: *mut libc::c_void,
        mapped: usize,
        words: NonNull<u32>,
        length: usize,
    }

    // SAFETY: the mapping belongs to the value alone.
    unsafe impl Send for Memory {}
    // SAFETY: as above; what is shared is only read.
    unsafe impl Sync for Memory {}

    impl Default for Memory {
        fn default() -> Self {
            Self { mapping: null_mut(), mapped: 0, words: NonNull::dangling(), length: 0 }
        }
    }

    impl Memory {
        pub fn zeroed(length: usize) -> Self {
            let size = length * size_of::<u32>();
            if size == 0 {
                return Self::default();
            }
            let slack = if size < LARGE_PAGE { 0 } else { LARGE_PAGE };
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new private mapping touches no memory that anything else knows of.
            let mapping = unsafe { libc::mmap(null_mut(), size + slack, access, kind, -1, 0) };
            let layout = Layout::array::<u32>(length).unwrap_or(Layout::new::<u32>());
            if mapping == libc::MAP_FAILED {
                handle_alloc_error(layout);
            }
            let start = if slack == 0 { mapping } else { mapping.map_addr(|at| at.next_multiple_of(LARGE_PAGE)) };
            if slack != 0 {
                // SAFETY: the range lies within the mapping, and advice changes how it is mapped, not what is in it.
                unsafe { libc::madvise(start, size, libc::MADV_HUGEPAGE) };
            }
            let Some(words) = NonNull::new(start.cast()) else { handle_alloc_error(layout) };
            Self { mapping, mapped: size + slack, words, length }
        }

        pub fn words(&self) -> &[u32] {
            // SAFETY: so many words were mapped, as zeroes; without any the pointer dangles, which is allowed.
            unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.length) }
        }

        pub fn words_mut(&mut self) -> &mut [u32] {
            // SAFETY: as above, and nothing else refers to them.
            unsafe { std::slice::from_raw_parts_mut(self.words.as_ptr(), self.length) }
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            if self.mapped > 0 {
                // SAFETY: the mapping was made with this size, and no slice of it outlives the value.
                unsafe { libc::munmap(self.mapping, self.mapped) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pages;

    #[test]
    fn words_are_zero_until_written_whatever_their_number() {
        for count in [0, 1, 1023, 524_288, 524_289, 1_500_000] {
            let mut pages = Pages::zeroed(count);
            assert_eq!(pages.len(), count);
            assert!(pages.iter().all(|word| *word == 0));
            pages.fill(7);
            let copy = Pages::from(&pages[..]);
            drop(pages);
            assert!(copy.iter().all(|word| *word == 7) && copy.len() == count);
        }
    }
}
