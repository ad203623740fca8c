"""Nodes of a packed R-tree and the search through them.

A node holds sixteen boxes over source, target, port and protocol, column by column, and with each the least rule in
or below it. All sixteen are compared at once: by AVX-512, by AVX2, or by what the compiler makes of plain loops.

A search begins with a few nodes side by side and goes level by level, not path by path: the boxes that hold the point
are written one after another without a branch, so the processor reads the nodes of a level side by side. At most
`GW_BLOCK` nodes of a level are opened before the levels below them are finished; what was found there then spares boxes
whose least rule is not less.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>

    #define GW_WIDTH 16
    #define GW_BLOCK 16
    #define GW_PAIRS 64              /* questions asked at once, and so many nodes of a level */
    #define GW_LEVELS 6              /* 16^6 = 2^24 rules */

    typedef struct {
        uint32_t source_low[GW_WIDTH], source_high[GW_WIDTH], target_low[GW_WIDTH], target_high[GW_WIDTH];
        uint32_t best[GW_WIDTH];     /* the least rule in or below each box */
        uint16_t port_low[GW_WIDTH], port_high[GW_WIDTH];
        uint8_t protocol_low[GW_WIDTH], protocol_high[GW_WIDTH];
        uint32_t child;              /* the node of the first box; those of the others follow it */
        uint32_t unused[7];
    } __attribute__((aligned(64))) gw_node;

    typedef struct { uint32_t source, target; uint16_t port; uint8_t protocol; } gw_point;

    typedef uint32_t (*gw_search)(const gw_node *nodes, uint32_t root, uint32_t roots, int levels, gw_point at);
    typedef void (*gw_search_many)(
        const gw_node *nodes, uint32_t root, uint32_t roots, int levels, const gw_point *at, uint32_t *found,
        uint32_t n);

    /* `OPEN` appends to `next` the children of one node whose boxes hold the point and may beat `found`; `LEAF` takes
       the least rule of one node into `found`. */
    #define GW_SEARCH(NAME, TARGET, PREPARE, BEGIN, OPEN, LEAF, END)                                                  \\
    TARGET static uint32_t NAME(const gw_node *nodes, uint32_t root, uint32_t roots, int levels, gw_point at)         \\
    {                                                                                                                 \\
        uint32_t lists[GW_LEVELS][GW_BLOCK * GW_WIDTH + GW_WIDTH];                                                    \\
        uint32_t count[GW_LEVELS], done[GW_LEVELS], found = UINT32_MAX;                                               \\
        int level = 0;                                                                                                \\
        PREPARE                                                                                                       \\
        for (uint32_t i = 0; i < roots; i++)                                                                          \\
            lists[0][i] = root + i;                                                                                   \\
        count[0] = roots;                                                                                             \\
        done[0] = 0;                                                                                                  \\
        while (level >= 0) {                                                                                          \\
            uint32_t from = done[level], to = count[level];                                                           \\
            if (from == to) {                                                                                         \\
                level--;                                                                                              \\
                continue;                                                                                             \\
            }                                                                                                         \\
            if (to - from > GW_BLOCK)                                                                                 \\
                to = from + GW_BLOCK;                                                                                 \\
            done[level] = to;                                                                                         \\
            BEGIN                                                                                                     \\
            if (level + 1 == levels) {                                                                                \\
                for (; from < to; from++) {                                                                           \\
                    const gw_node *node = nodes + lists[level][from];                                                 \\
                    LEAF                                                                                              \\
                }                                                                                                     \\
                END                                                                                                   \\
            } else {                                                                                                  \\
                uint32_t *next = lists[level + 1], made = 0;                                                          \\
                for (; from < to; from++) {                                                                           \\
                    const gw_node *node = nodes + lists[level][from];                                                 \\
                    OPEN                                                                                              \\
                }                                                                                                     \\
                level++;                                                                                              \\
                count[level] = made;                                                                                  \\
                done[level] = 0;                                                                                      \\
            }                                                                                                         \\
        }                                                                                                             \\
        return found;                                                                                                 \\
    }

    /* One bit for each box that holds the point and may beat `found`. */
    static inline __attribute__((always_inline)) uint32_t gw_fits(const gw_node *node, gw_point at, uint32_t found)
    {
        uint8_t fit[GW_WIDTH];
        uint32_t mask = 0;
        for (int j = 0; j < GW_WIDTH; j++)
            fit[j] = (node->source_low[j] <= at.source) & (at.source <= node->source_high[j])
                   & (node->target_low[j] <= at.target) & (at.target <= node->target_high[j]) & (node->best[j] < found);
        for (int j = 0; j < GW_WIDTH; j++)
            fit[j] &= (node->port_low[j] <= at.port) & (at.port <= node->port_high[j])
                    & (node->protocol_low[j] <= at.protocol) & (at.protocol <= node->protocol_high[j]);
        for (int half = 0; half < 2; half++) {
            uint64_t bytes = 0;
            for (int j = 0; j < 8; j++)
                bytes |= (uint64_t) fit[8 * half + j] << (8 * j);
            mask |= (uint32_t) (bytes * 0x0102040810204080u >> 56) << (8 * half);
        }
        return mask;
    }

    #define GW_OPEN(FITS)                                                                                             \\
        for (uint32_t mask = FITS(node, at, found); mask; mask &= mask - 1)                                           \\
            next[made++] = node->child + (uint32_t) __builtin_ctz(mask);
    #define GW_LEAF(FITS)                                                                                             \\
        for (uint32_t mask = FITS(node, at, found); mask; mask &= mask - 1) {                                         \\
            uint32_t rule = node->best[__builtin_ctz(mask)];                                                          \\
            found = rule < found ? rule : found;                                                                      \\
        }
    GW_SEARCH(gw_search_plain, , , , GW_OPEN(gw_fits), GW_LEAF(gw_fits), )

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>

    #define GW_AVX2 __attribute__((target("avx2,bmi2,popcnt")))
    /* AVX2 compares no unsigned numbers, but finds the greater and the less. */
    #define GW_INSIDE(UNIT, LOW, HIGH, AT)                                                                            \\
        _mm256_and_si256(_mm256_cmpeq_epi##UNIT(_mm256_max_epu##UNIT(LOW, AT), AT),                                   \\
                         _mm256_cmpeq_epi##UNIT(_mm256_min_epu##UNIT(HIGH, AT), AT))
    #define GW_HALF(COLUMN) _mm256_load_si256((const __m256i *) (COLUMN))
    /* All ones in each of eight lanes whose box holds the point and may beat `found`. */
    static inline GW_AVX2 __attribute__((always_inline)) __m256i gw_fits_half(
        const gw_node *node, int first, __m256i source, __m256i target, __m128i rest, __m256i found)
    {
        __m256i best = GW_HALF(node->best + first);
        __m256i fit = _mm256_and_si256(
            GW_INSIDE(32, GW_HALF(node->source_low + first), GW_HALF(node->source_high + first), source),
            GW_INSIDE(32, GW_HALF(node->target_low + first), GW_HALF(node->target_high + first), target));
        fit = _mm256_andnot_si256(_mm256_cmpeq_epi32(_mm256_max_epu32(best, found), best), fit);
        return _mm256_and_si256(fit, _mm256_cvtepi8_epi32(first ? _mm_srli_si128(rest, 8) : rest));
    }
    /* All ones in each of sixteen bytes whose box holds the port and the protocol. */
    static inline GW_AVX2 __attribute__((always_inline)) __m128i gw_fits_rest(
        const gw_node *node, __m256i port, __m128i protocol)
    {
        __m256i on_port = GW_INSIDE(16, GW_HALF(node->port_low), GW_HALF(node->port_high), port);
        __m128i low = _mm_load_si128((const __m128i *) node->protocol_low);
        __m128i high = _mm_load_si128((const __m128i *) node->protocol_high);
        __m128i on_protocol = _mm_and_si128(_mm_cmpeq_epi8(_mm_max_epu8(low, protocol), protocol),
                                            _mm_cmpeq_epi8(_mm_min_epu8(high, protocol), protocol));
        return _mm_and_si128(
            on_protocol, _mm_packs_epi16(_mm256_castsi256_si128(on_port), _mm256_extracti128_si256(on_port, 1)));
    }
    /* Write `base` and the numbers of the lanes that are set one after another; how many these are. */
    static inline GW_AVX2 __attribute__((always_inline)) uint32_t gw_compress(
        uint32_t *to, uint32_t base, __m256i lanes)
    {
        uint32_t mask = (uint32_t) _mm256_movemask_ps(_mm256_castsi256_ps(lanes));
        uint64_t bytes = _pdep_u64(mask, 0x0101010101010101u) * 0xFF;
        __m128i set = _mm_cvtsi64_si128((long long) _pext_u64(0x0706050403020100u, bytes));
        __m256i numbers = _mm256_add_epi32(_mm256_cvtepu8_epi32(set), _mm256_set1_epi32((int) base));
        _mm256_storeu_si256((__m256i *) to, numbers);
        return (uint32_t) __builtin_popcount(mask);
    }
    #define GW_AVX2_PREPARE                                                                                           \\
        const __m256i source = _mm256_set1_epi32((int) at.source), target = _mm256_set1_epi32((int) at.target);       \\
        const __m256i port = _mm256_set1_epi16((short) at.port);                                                      \\
        const __m128i protocol = _mm_set1_epi8((char) at.protocol);
    #define GW_AVX2_BEGIN __m256i least = _mm256_set1_epi32((int) found);
    #define GW_AVX2_OPEN                                                                                              \\
        __m128i rest = gw_fits_rest(node, port, protocol);                                                            \\
        made += gw_compress(next + made, node->child, gw_fits_half(node, 0, source, target, rest, least));            \\
        made += gw_compress(next + made, node->child + 8, gw_fits_half(node, 8, source, target, rest, least));
    #define GW_AVX2_LEAF                                                                                              \\
        __m128i rest = gw_fits_rest(node, port, protocol);                                                            \\
        for (int first = 0; first < GW_WIDTH; first += 8) {                                                           \\
            __m256i fit = gw_fits_half(node, first, source, target, rest, least);                                     \\
            __m256i best = _mm256_blendv_epi8(_mm256_set1_epi32(-1), GW_HALF(node->best + first), fit);               \\
            least = _mm256_min_epu32(least, best);                                                                    \\
        }
    #define GW_AVX2_END                                                                                               \\
        uint32_t rules[8];                                                                                            \\
        _mm256_storeu_si256((__m256i *) rules, least);                                                                \\
        for (int j = 0; j < 8; j++)                                                                                   \\
            found = rules[j] < found ? rules[j] : found;
    GW_SEARCH(gw_search_avx2, GW_AVX2, GW_AVX2_PREPARE, GW_AVX2_BEGIN, GW_AVX2_OPEN, GW_AVX2_LEAF, GW_AVX2_END)

    #define GW_WIDE __attribute__((target("avx512f,avx512bw,avx512vl,popcnt")))
    static inline GW_WIDE __attribute__((always_inline)) __mmask16 gw_holds_wide(
        const gw_node *node, __m512i source, __m512i target, __m256i port, __m128i protocol)
    {
        __mmask16 on_source = _mm512_cmple_epu32_mask(_mm512_load_si512(node->source_low), source)
                            & _mm512_cmpge_epu32_mask(_mm512_load_si512(node->source_high), source);
        __mmask16 on_target = _mm512_cmple_epu32_mask(_mm512_load_si512(node->target_low), target)
                            & _mm512_cmpge_epu32_mask(_mm512_load_si512(node->target_high), target);
        __mmask16 on_port = _mm256_cmple_epu16_mask(_mm256_load_si256((const __m256i *) node->port_low), port)
                          & _mm256_cmpge_epu16_mask(_mm256_load_si256((const __m256i *) node->port_high), port);
        __mmask16 on_protocol = _mm_cmple_epu8_mask(_mm_load_si128((const __m128i *) node->protocol_low), protocol)
                              & _mm_cmpge_epu8_mask(_mm_load_si128((const __m128i *) node->protocol_high), protocol);
        /* Compilers would make one chain of nine dependent comparisons of this. */
        __asm__("" : "+k"(on_source), "+k"(on_target), "+k"(on_port), "+k"(on_protocol));
        return (on_source & on_target) & (on_port & on_protocol);
    }
    static inline GW_WIDE __attribute__((always_inline)) __mmask16 gw_fits_wide(
        const gw_node *node, __m512i source, __m512i target, __m256i port, __m128i protocol, __m512i found)
    {
        __mmask16 may_beat = _mm512_cmplt_epu32_mask(_mm512_load_si512(node->best), found);
        return gw_holds_wide(node, source, target, port, protocol) & may_beat;
    }
    #define GW_WIDE_PREPARE                                                                                           \\
        const __m512i places = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);                \\
        const __m512i source = _mm512_set1_epi32((int) at.source), target = _mm512_set1_epi32((int) at.target);       \\
        const __m256i port = _mm256_set1_epi16((short) at.port);                                                      \\
        const __m128i protocol = _mm_set1_epi8((char) at.protocol);
    #define GW_WIDE_BEGIN __m512i least = _mm512_set1_epi32((int) found);
    #define GW_WIDE_OPEN                                                                                              \\
        __mmask16 mask = gw_fits_wide(node, source, target, port, protocol, least);                                   \\
        __m512i children = _mm512_add_epi32(places, _mm512_set1_epi32((int) node->child));                            \\
        _mm512_storeu_si512(next + made, _mm512_maskz_compress_epi32(mask, children));                                \\
        made += (uint32_t) __builtin_popcount(mask);
    #define GW_WIDE_LEAF                                                                                              \\
        __mmask16 mask = gw_fits_wide(node, source, target, port, protocol, least);                                   \\
        least = _mm512_mask_min_epu32(least, mask, least, _mm512_load_si512(node->best));
    #define GW_WIDE_END found = _mm512_reduce_min_epu32(least);
    GW_SEARCH(gw_search_avx512, GW_WIDE, GW_WIDE_PREPARE, GW_WIDE_BEGIN, GW_WIDE_OPEN, GW_WIDE_LEAF, GW_WIDE_END)

    /* Many questions at once, level by level: what is opened below them lies in one list, with the question beside each
       node, so no loop is as short as one question's, and nodes are read far ahead. */
    static GW_WIDE void gw_search_many_avx512(
        const gw_node *nodes, uint32_t root, uint32_t roots, int levels, const gw_point *at, uint32_t *found,
        uint32_t n)
    {
        const __m512i places = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        uint32_t lists[GW_LEVELS][GW_PAIRS * GW_WIDTH + GW_WIDTH];
        uint8_t asked[GW_LEVELS][GW_PAIRS * GW_WIDTH + GW_WIDTH];
        uint32_t count[GW_LEVELS], done[GW_LEVELS];
        int level = 0;
        count[0] = 0;
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t j = 0; j < roots; j++) {
                lists[0][count[0]] = root + j;
                asked[0][count[0]++] = (uint8_t) i;
            }
            found[i] = UINT32_MAX;
        }
        done[0] = 0;
        while (level >= 0) {
            uint32_t from = done[level], to = count[level], made = 0;
            if (from == to) {
                level--;
                continue;
            }
            if (to - from > GW_PAIRS)
                to = from + GW_PAIRS;
            done[level] = to;
            for (; from < to; from++) {
                const gw_node *node = nodes + lists[level][from];
                const uint8_t i = asked[level][from];
                const __mmask16 holding = gw_holds_wide(
                    node, _mm512_set1_epi32((int) at[i].source), _mm512_set1_epi32((int) at[i].target),
                    _mm256_set1_epi16((short) at[i].port), _mm_set1_epi8((char) at[i].protocol));
                if (level + 1 == levels) {
                    /* Rules stand in order in a leaf. No comparison waits for what the leaf before has found. */
                    uint32_t rule = node->best[__builtin_ctz(holding | 1u << (GW_WIDTH - 1))];
                    rule = holding ? rule : UINT32_MAX;
                    found[i] = rule < found[i] ? rule : found[i];
                } else {
                    __m512i children = _mm512_add_epi32(places, _mm512_set1_epi32((int) node->child));
                    __mmask16 mask = holding & _mm512_cmplt_epu32_mask(
                        _mm512_load_si512(node->best), _mm512_set1_epi32((int) found[i]));
                    _mm512_storeu_si512(lists[level + 1] + made, _mm512_maskz_compress_epi32(mask, children));
                    _mm_storeu_si128((__m128i *) (asked[level + 1] + made), _mm_set1_epi8((char) i));
                    made += (uint32_t) __builtin_popcount(mask);
                }
            }
            if (level + 1 < levels) {
                level++;
                count[level] = made;
                done[level] = 0;
            }
        }
    }

    /* The search for vectors of at most so many bits, as far as this CPU has them. */
    static gw_search gw_choose(int bits)
    {
        __builtin_cpu_init();
        if (bits >= 512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512vl"))
            return gw_search_avx512;
        return bits >= 256 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? gw_search_avx2
                                                                                             : gw_search_plain;
    }
    static gw_search_many gw_many(gw_search search)
    {
        return search == gw_search_avx512 ? gw_search_many_avx512 : 0;
    }
    static int gw_vectors(gw_search search)
    {
        return search == gw_search_avx512 ? 512 : search == gw_search_avx2 ? 256 : 128;
    }
    #else
    static gw_search gw_choose(int bits) { return gw_search_plain; }
    static gw_search_many gw_many(gw_search search) { return 0; }
    static int gw_vectors(gw_search search) { return 128; }
    #endif
    """
    ctypedef struct Node "gw_node":
        uint32_t *source_low
        uint32_t *source_high
        uint32_t *target_low
        uint32_t *target_high
        uint32_t *best
        uint16_t *port_low
        uint16_t *port_high
        uint8_t *protocol_low
        uint8_t *protocol_high
        uint32_t child
    ctypedef struct Point "gw_point":
        uint32_t source
        uint32_t target
        uint16_t port
        uint8_t protocol
    ctypedef uint32_t (*Search "gw_search")(const Node *, uint32_t, uint32_t, int, Point) noexcept nogil
    ctypedef void (*SearchMany "gw_search_many")(
        const Node *, uint32_t, uint32_t, int, const Point *, uint32_t *, uint32_t
    ) noexcept nogil
    enum: PAIRS "GW_PAIRS"
    Search choose "gw_choose"(int bits) nogil
    SearchMany many "gw_many"(Search search) nogil
    int width "gw_vectors"(Search search) nogil
    int leading_zeros "__builtin_clz"(uint32_t) noexcept nogil
