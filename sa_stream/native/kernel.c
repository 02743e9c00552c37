// Ordinary records into numbers: lines of a log come in, one row a line goes out. Whatever is not ordinary is only
// named, and read by the Python path, which is the judge of both.
//
// The rules of this file. All memory is the caller's, who passes its size with it: nothing is read before its beginning
// or behind its end, nothing is written beyond a capacity, nothing is remembered between calls, and no text is trusted.
// A pointer says nothing of its alignment. Offsets into a buffer fit 31 bits, as MAX_BYTES says.
//
// Vectors of 64 bytes become whatever the processor has.
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16; typedef int16_t i16;
typedef uint32_t u32; typedef int32_t i32;
typedef uint64_t u64; typedef int64_t i64; typedef unsigned __int128 u128;
typedef u8 Block __attribute__((vector_size(64), aligned(1)));
typedef u64 Lanes __attribute__((vector_size(64), aligned(1)));

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define RARELY(x) __builtin_expect(!!(x), 0)

#define MAX_BYTES (1ll << 30)      // of any buffer
#define MAX_FIELDS 128             // of a line
#define MAX_COLUMNS 32             // of a line that are coded
#define MAX_TEXTS (1ll << 16)      // told apart at once
#define MAX_TIMES 4                // of a line that say how long something took
#define LINE_BYTES_MAX (1ll << 20) // as in decoder.py
#define YEAR_2100_S 4102444800ll   // as in parser.py

EXPORT i64 version(void) { return 6; } // of the structures below: __init__.py has it too

// ------------------------------------------------------------------------------------------------ bytes and numbers

// One bit for each byte of a block that is not 0.
#if defined(__clang__) && __clang_major__ >= 15
typedef _Bool Bits __attribute__((ext_vector_type(64)));
INLINE u64 bits_of(Block mask) {
  Bits bits = __builtin_convertvector(mask, Bits);
  u64 result;
  memcpy(&result, &bits, 8);
  return result;
}
#else // slower, for compilers that only check or try this file
INLINE u64 bits_of(Block mask) {
  u64 result = 0;
  for (int k = 0; k < 64; k++) result |= (u64)(mask[k] != 0) << k;
  return result;
}
#endif

// Eight bytes, four bytes, 64 bytes: the caller has them.
INLINE u64 read64(const u8 *p) { u64 x; memcpy(&x, p, 8); return x; }
INLINE u64 read32(const u8 *p) { u32 x; memcpy(&x, p, 4); return x; }
INLINE Block read512(const u8 *p) { Block x; memcpy(&x, p, 64); return x; }

INLINE int is_digit(u8 c) { return (u8)(c - '0') <= 9; }
INLINE i64 lowest(u64 bits) { return bits ? __builtin_ctzll(bits) : 64; } // the place of the lowest bit that is set

// The texts of a line are a few bytes each, and as long as they like: a loop over bytes would end where the processor
// does not expect it, which costs more than what it does. So they are read 64 bytes at a time, with what lies behind them.
// padded: whether 64 bytes follow on the text that are the caller's too. Where not, nothing behind it is read.

// The first 64 bytes of a text of n; what stands behind these n has no meaning, and is 0 if not padded.
INLINE Block block_of(const u8 *p, i64 n, int padded) {
  if (padded) return read512(p);
  u8 copy[64] = {0};
  memcpy(copy, p, (size_t)(n < 64 ? n : 64));
  return read512(copy);
}

// Whether n bytes are the same as those of a text that was kept, which is padded.
INLINE int same(const u8 *p, i64 n, int padded, const u8 *kept) {
  for (; n > 63; p += 64, kept += 64, n -= 64)
    if (bits_of((Block)(read512(p) != read512(kept)))) return 0;
  return !(bits_of((Block)(block_of(p, n, padded) != read512(kept))) << (63 - n) << 1);
}

// Where the first byte of a text that is c stands; n if none is.
INLINE i64 place_of(u8 c, const u8 *p, i64 n, int padded) {
  for (i64 k = 0; k < n; k += 64) {
    i64 at = lowest(bits_of((Block)(block_of(p + k, n - k, padded) == c)));
    if (at < 64) return k + at < n ? k + at : n;
  }
  return n;
}

// The number that 1 to 18 bytes are, or -1 if one is no digit.
INLINE i64 number(const u8 *p, i64 n, int padded) {
  if (padded && n <= 8) { // with zeros in front, of which pairs become numbers, and pairs of these
    int more = 8 * (int)(8 - n);
    u64 x = read64(p) << more | (0x3030303030303030ull & ~(~0ull << more)), high = 0xF0F0F0F0F0F0F0F0ull;
    if (((x & high) | ((x + 0x0606060606060606ull) & high) >> 4) != 0x3333333333333333ull) return -1;
    x = (x & ~high) * (10 << 8 | 1) >> 8;
    x = (x & 0x00FF00FF00FF00FFull) * (100 << 16 | 1) >> 16;
    return (i64)((x & 0x0000FFFF0000FFFFull) * (10000ull << 32 | 1) >> 32);
  }
  i64 value = 0;
  for (i64 k = 0; k < n; k++) {
    if (!is_digit(p[k])) return -1;
    value = value * 10 + (p[k] - '0');
  }
  return value;
}

// Whether n bytes are UTF-8 as Python's decoder takes it. Reads these n.
static __attribute__((noinline)) int is_utf8(const u8 *p, i64 n) {
  for (i64 i = 0; i < n;) {
    u8 c = p[i];
    if (c < 0x80) { i++; continue; }
    int more = c >= 0xC2 && c < 0xE0 ? 1 : (c & 0xF0) == 0xE0 ? 2 : c >= 0xF0 && c < 0xF5 ? 3 : 0;
    if (!more || n - i <= more) return 0;
    for (int k = 1; k <= more; k++)
      if ((p[i + k] & 0xC0) != 0x80) return 0;
    u8 d = p[i + 1];
    if ((c == 0xE0 && d < 0xA0) || (c == 0xED && d > 0x9F) || (c == 0xF0 && d < 0x90) || (c == 0xF4 && d > 0x8F)) return 0;
    i += more + 1;
  }
  return 1;
}

// ------------------------------------------------------------------------------------------------ hashes

// The default secret of xxh3 (xxHash 0.8, BSD), of which hashes of up to 240 bytes use the first 144 and these offsets.
static const u8 SECRET[192] = {
  0xb8,0xfe,0x6c,0x39,0x23,0xa4,0x4b,0xbe,0x7c,0x01,0x81,0x2c,0xf7,0x21,0xad,0x1c,0xde,0xd4,0x6d,0xe9,0x83,0x90,0x97,0xdb,
  0x72,0x40,0xa4,0xa4,0xb7,0xb3,0x67,0x1f,0xcb,0x79,0xe6,0x4e,0xcc,0xc0,0xe5,0x78,0x82,0x5a,0xd0,0x7d,0xcc,0xff,0x72,0x21,
  0xb8,0x08,0x46,0x74,0xf7,0x43,0x24,0x8e,0xe0,0x35,0x90,0xe6,0x81,0x3a,0x26,0x4c,0x3c,0x28,0x52,0xbb,0x91,0xc3,0x00,0xcb,
  0x88,0xd0,0x65,0x8b,0x1b,0x53,0x2e,0xa3,0x71,0x64,0x48,0x97,0xa2,0x0d,0xf9,0x4e,0x38,0x19,0xef,0x46,0xa9,0xde,0xac,0xd8,
  0xa8,0xfa,0x76,0x3f,0xe3,0x9c,0x34,0x3f,0xf9,0xdc,0xbb,0xc7,0xc7,0x0b,0x4f,0x1d,0x8a,0x51,0xe0,0x4b,0xcd,0xb4,0x59,0x31,
  0xc8,0x9f,0x7e,0xc9,0xd9,0x78,0x73,0x64,0xea,0xc5,0xac,0x83,0x34,0xd3,0xeb,0xc3,0xc5,0x81,0xa0,0xff,0xfa,0x13,0x63,0xeb,
  0x17,0x0d,0xdd,0x51,0xb7,0xf0,0xda,0x49,0xd3,0x16,0x55,0x26,0x29,0xd4,0x68,0x9e,0x2b,0x16,0xbe,0x58,0x7d,0x47,0xa1,0xfc,
  0x8f,0xf8,0xb8,0xd1,0x7a,0xd0,0x31,0xce,0x45,0xcb,0x3a,0x8f,0x95,0x16,0x04,0x28,0xaf,0xd7,0xfb,0xca,0xbb,0x4b,0x40,0x7e};
#define PRIME_1 0x9E3779B185EBCA87ull
#define PRIME_2 0xC2B2AE3D27D4EB4Full
#define PRIME_3 0x165667B19E3779F9ull
#define PRIME_4 0x165667919E3779F9ull
#define PRIME_5 0x9FB21C651E98DF25ull
#define HASHED_BYTES_MAX 240

INLINE u64 folded(u64 a, u64 b) { u128 x = (u128)a * b; return (u64)x ^ (u64)(x >> 64); } // both halves of a product
INLINE u64 rotated(u64 x, int by) { return x << by | x >> (64 - by); }
INLINE u64 avalanche(u64 h) { h ^= h >> 37; h *= PRIME_4; return h ^ (h >> 32); }
INLINE u64 mixed(const u8 *p, int k, u64 seed) { // reads 16 bytes, and of SECRET as many from k on
  return folded(read64(p) ^ (read64(SECRET + k) + seed), read64(p + 8) ^ (read64(SECRET + k + 8) - seed));
}

// xxh3-64 of n bytes, n <= HASHED_BYTES_MAX: the same as xxhash's and polars-hash's, since it is stored. Reads these n.
static u64 xxh3(const u8 *p, i64 n, u64 seed) {
  if (n > 128) {
    u64 h = (u64)n * PRIME_1;
    for (int k = 0; k < 8; k++) h += mixed(p + 16 * k, 16 * k, seed);
    h = avalanche(h);
    for (int k = 8; k < n / 16; k++) h += mixed(p + 16 * k, 16 * (k - 8) + 3, seed);
    return avalanche(h + mixed(p + n - 16, 119, seed));
  }
  if (n > 16) {
    u64 h = (u64)n * PRIME_1;
    for (int k = (int)(n - 1) / 32; k >= 0; k--)
      h += mixed(p + 16 * k, 32 * k, seed) + mixed(p + n - 16 * (k + 1), 32 * k + 16, seed);
    return avalanche(h);
  }
  if (n > 8) {
    u64 low = read64(p) ^ ((read64(SECRET + 24) ^ read64(SECRET + 32)) + seed);
    u64 high = read64(p + n - 8) ^ ((read64(SECRET + 40) ^ read64(SECRET + 48)) - seed);
    return avalanche((u64)n + __builtin_bswap64(low) + high + folded(low, high));
  }
  if (n >= 4) {
    u64 other = seed ^ ((u64)__builtin_bswap32((u32)seed) << 32);
    u64 h = (read32(p + n - 4) + (read32(p) << 32)) ^ ((read64(SECRET + 8) ^ read64(SECRET + 16)) - other);
    h ^= rotated(h, 49) ^ rotated(h, 24);
    h *= PRIME_5;
    h ^= (h >> 35) + (u64)n;
    h *= PRIME_5;
    return h ^ (h >> 28);
  }
  u64 h = n ? ((u64)p[0] << 16 | (u64)p[n >> 1] << 24 | p[n - 1] | (u64)n << 8) ^ ((read32(SECRET) ^ read32(SECRET + 4)) + seed)
            : seed ^ (read64(SECRET + 56) ^ read64(SECRET + 64));
  h ^= h >> 33;
  h *= PRIME_2;
  h ^= h >> 29;
  h *= PRIME_3;
  return h ^ (h >> 32);
}

// Hashes texts that lie in `bytes` (size: `bytes_n`), text k from begin[k] to end[k], into out[k]; 0 for one that is
// longer than HASHED_BYTES_MAX, which the caller hashes. Returns how many of these there are, -1 for a place outside.
EXPORT i64 hash_texts(const u8 *bytes, i64 bytes_n, const i64 *begin, const i64 *end, i64 n, u64 seed, u64 *out) {
  i64 longer = 0;
  for (i64 k = 0; k < n; k++) {
    i64 length = end[k] - begin[k];
    if (begin[k] < 0 || length < 0 || end[k] > bytes_n) return -1;
    out[k] = length > HASHED_BYTES_MAX ? 0 : xxh3(bytes + begin[k], length, seed);
    longer += length > HASHED_BYTES_MAX;
  }
  return longer;
}

// Merges two ascending runs of distinct ids, each with a minute, into one of `out` and `out_minute`, which have room for
// a_n + b_n: an id of both gets the later minute, and none stays whose minute is before `oldest`. Returns how many stay.
// Quickest where the second run is the shorter one: what lies between two of its ids is copied as it is.
#define KEEP(id, minute_of_it) do { out[n] = id; out_minute[n] = (minute_of_it); n += (minute_of_it) >= oldest; } while (0)
EXPORT i64 merge_ids(const u64 *a, const i32 *a_minute, i64 a_n, const u64 *b, const i32 *b_minute, i64 b_n, i64 oldest,
                     u64 *out, i32 *out_minute) {
  i64 i = 0, n = 0;
  for (i64 j = 0; j < b_n; j++) {
    for (; i < a_n && a[i] < b[j]; i++) KEEP(a[i], a_minute[i]);
    i32 minute = b_minute[j], other = i < a_n && a[i] == b[j] ? a_minute[i++] : minute;
    KEEP(b[j], other > minute ? other : minute);
  }
  for (; i < a_n; i++) KEEP(a[i], a_minute[i]);
  return n;
}

// Puts the ids of each minute together in `out` (room for n), in the order in which they come. end: of each of `minutes_n`
// minutes from `first` on, is set to where its ids end. Returns 0, or -1 if an id has another minute.
EXPORT i64 part_ids(const u64 *ids, const i32 *minute, i64 n, i32 first, i64 minutes_n, i64 *end, u64 *out) {
  if (minutes_n < 1) return -1;
  memset(end, 0, (size_t)minutes_n * 8);
  for (i64 k = 0; k < n; k++) {
    i64 at = (i64)minute[k] - first;
    if (RARELY(at < 0 || at >= minutes_n)) return -1;
    end[at]++;
  }
  for (i64 at = 0, before = 0; at < minutes_n; at++) { i64 of_it = end[at]; end[at] = before; before += of_it; }
  for (i64 k = 0; k < n; k++) out[end[(i64)minute[k] - first]++] = ids[k];
  return 0;
}

// Puts ids into a table, `used` of whose slots hold one: 0 is free, and taken for 1. seen[k] is set to whether id k was
// there before, or came before it in this call. `seed` decides where ids are, so that nobody can choose such as collide.
// Returns how many are new; -1, and nothing is done, where the table would not keep a free slot.
#define PLACE(id) (u64)((u128)folded((id) ^ seed, PRIME_1) * (u64)slots >> 64)
EXPORT i64 see_ids(const u64 *ids, i64 n, u64 seed, u64 *slot, i64 slots, i64 used, u8 *seen) {
  if (n < 0 || used < 0 || n >= slots - used) return -1;
  i64 fresh = 0;
  for (i64 k = 0; k < n; k++) {
    u64 id = ids[k] + !ids[k], q = PLACE(id);
    if (k + 16 < n) __builtin_prefetch(&slot[PLACE(ids[k + 16] + !ids[k + 16])]);
    while (slot[q] && slot[q] != id) q = q + 1 < (u64)slots ? q + 1 : 0;
    seen[k] = slot[q] != 0;
    fresh += !seen[k];
    slot[q] = id;
  }
  return fresh;
}

// ------------------------------------------------------------------------------------------------ distinct texts

// A distinct text of a column: where it lies among the texts, its number in the column, and its first row.
typedef struct { u64 hash; u32 at, length, column, code, row, unused; } Text;

// Rows, and what tells texts apart. Every array is of the capacity that is named beside it.
typedef struct {
  i64 rows_n, rows_max, texts_n, texts_max, bytes_n, bytes_max, ids_n, ids_max, odd_n, odd_max, slots, slots_max;
  i64 columns_n[MAX_COLUMNS]; // distinct texts of each column so far
  u64 seed;                   // of the hashes by which texts are found: nobody can choose texts that collide
  i64 *event_ms, *size;                            // rows_max each
  u32 *id_end;                                     // rows_max
  i32 *payload, *line, *micros;                    // rows_max each, micros [time][rows_max]
  i16 *status;                                     // rows_max
  u16 *codes;                                      // [column][rows_max]; there are no more texts than it can tell apart
  i64 *odd;                                        // odd_max, four numbers each: begin, end, payload, line
  u32 *slot;                                       // slots_max; slots are used, a power of two: 0 free, else text + 1
  Text *text;                                      // texts_max
  u8 *bytes, *ids;                                 // bytes_max, ids_max
} Rows;

// Of a list: how many fields a line has; in which of them are the time, status, size and id (-1: none); of each of the
// n coded columns in which it is (-1: none, then its text is empty); which of these is the path (-1: none); and of each
// time that something took in which it is.
typedef struct { i64 fields, time, status, size, id, n, path, times, place[MAX_COLUMNS], taken[MAX_TIMES]; } Layout;

// The hash by which a text of n bytes is found; not stored. Products of the two halves of eight bytes, under eight secrets
// of the process. If these told anything of each other, as sums of one seed do, texts could be chosen that collide.
INLINE u64 quick_hash(const u8 *p, i64 n, int padded, u64 seed, const Lanes *secret) {
  static const u8 FIRST[128] = {[0 ... 63] = 255};
  for (u64 h = seed ^ (u64)n * PRIME_1;; p += 64, n -= 64) {
    Block block = block_of(p, n, padded);
    if (n < 64) block &= read512(FIRST + 64 - n); // those that are its own
    Lanes x = (Lanes)block ^ *secret, product = (x & 0xFFFFFFFF) * (x >> 32);
    u64 even = product[0] + product[2] + product[4] + product[6], odd = product[1] + product[3] + product[5] + product[7];
    h = folded(h ^ even, seed ^ odd);
    if (n < 64) return h;
  }
}

// Twice as many slots, with the same texts. The caller has made sure that there are as many.
static __attribute__((noinline)) void more_slots(Rows *R) {
  R->slots *= 2;
  memset(R->slot, 0, (size_t)R->slots * 4);
  for (i64 t = 0; t < R->texts_n; t++) {
    u64 q = R->text[t].hash & (u64)(R->slots - 1);
    while (R->slot[q]) q = (q + 1) & (u64)(R->slots - 1);
    R->slot[q] = (u32)t + 1;
  }
}

// The number in its column of a text with this hash; a new one if it is new there, first seen in `row`. The caller has
// made sure that there is room for one more text, and for n and 64 more bytes, so that it is padded. A free slot is always
// found: there are more slots than texts, as slots_max is above texts_max.
INLINE u16 code_of(Rows *R, const u8 *p, i64 n, int padded, u64 hash, i64 column, i64 row) {
  u64 mask = (u64)R->slots - 1;
  for (u64 q = hash & mask;; q = (q + 1) & mask) {
    u32 found = R->slot[q];
    if (RARELY(!found)) {
      Text *t = &R->text[R->texts_n++];
      *t = (Text){hash, (u32)R->bytes_n, (u32)n, (u32)column, (u32)R->columns_n[column]++, (u32)row, 0};
      memcpy(R->bytes + R->bytes_n, p, (size_t)n);
      R->bytes_n += n;
      R->slot[q] = (u32)R->texts_n;
      if (RARELY(2 * R->texts_n > R->slots && 2 * R->slots <= R->slots_max)) more_slots(R);
      return (u16)t->code;
    }
    const Text *t = &R->text[found - 1];
    if (t->hash == hash && t->length == n && t->column == column && same(p, n, padded, R->bytes + t->at))
      return (u16)t->code;
  }
}

// ------------------------------------------------------------------------------------------------ lines

// Field k of a line of b: ends[k] is where it ends, and ends[k - 1] where the one before does.
#define FIELD(k) (b + (ends[(k) - 1] + 1))
#define LENGTH(k) (ends[k] - ends[(k) - 1] - 1)
#define IS_MISSING(p, n) ((n) == 0 || ((n) == 1 && *(p) == '-'))

static const i64 UNIT[7] = {0, 100000, 10000, 1000, 100, 10, 1}; // microseconds, of a fraction of so many digits
// Milliseconds of a time of n bytes: ten digits, perhaps a dot and one to six more. -1 for any other form.
INLINE i64 time_of(const u8 *p, i64 n, int padded) {
  if (n < 10 || n > 17 || n == 11 || (n > 10 && p[10] != '.')) return -1;
  i64 high = number(p, 8, padded), low = number(p + 8, 2, padded), fraction = n > 10 ? number(p + 11, n - 11, padded) : 0;
  i64 seconds = high * 100 + low;
  if ((high | low | fraction) < 0 || seconds >= YEAR_2100_S) return -1;
  return n > 10 ? seconds * 1000 + fraction * UNIT[n - 11] / 1000 : seconds * 1000;
}

// Microseconds of a number of seconds of n bytes: less than 2147 s in up to four digits, perhaps a dot and one to six
// more. -1 for none, -2 for any other form.
INLINE i64 micros_of(const u8 *p, i64 n, int padded) {
  if (IS_MISSING(p, n)) return -1;
  i64 seconds = 0, k = 0;
  for (; k < n && k < 4 && is_digit(p[k]); k++) seconds = seconds * 10 + (p[k] - '0');
  if (!k || seconds > 2146) return -2;
  if (k == n) return seconds * 1000000;
  i64 more = n - k - 1, fraction = p[k] == '.' && more > 0 && more < 7 ? number(p + k + 1, more, padded) : -1;
  return fraction < 0 ? -2 : seconds * 1000000 + fraction * UNIT[more];
}

// The line of b whose fields end at `ends`, as row R->rows_n: 1, and it is counted; 0 if it is not ordinary, then the row
// is not. There is room for it (see `scan`). padded: whether each of its texts is. secret: of `quick_hash`.
INLINE int row_of(Rows *R, const Layout *L, const u8 *b, const i64 *ends, int padded, const Lanes *secret) {
  i64 r = R->rows_n, size = 0, status = -1;
  i64 event_ms = time_of(FIELD(L->time), LENGTH(L->time), padded);
  if (RARELY(event_ms < 0)) return 0;
  if (L->status >= 0 && (LENGTH(L->status) != 3 || (status = number(FIELD(L->status), 3, padded)) < 0)) return 0;
  if (L->size >= 0 && !IS_MISSING(FIELD(L->size), LENGTH(L->size))) {
    if (LENGTH(L->size) > 12 || (size = number(FIELD(L->size), LENGTH(L->size), padded)) < 0) return 0;
  }
  for (i64 t = 0; t < L->times; t++) {
    i64 k = L->taken[t], us = k < 0 ? -1 : micros_of(FIELD(k), LENGTH(k), padded);
    if (RARELY(us < -1)) return 0;
    R->micros[t * R->rows_max + r] = (i32)us;
  }
  if (L->id >= 0 && !IS_MISSING(FIELD(L->id), LENGTH(L->id))) {
    i64 n = LENGTH(L->id);
    if (padded && n <= 64) memcpy(R->ids + R->ids_n, FIELD(L->id), 64); // quicker than as many as there are
    else memcpy(R->ids + R->ids_n, FIELD(L->id), (size_t)n);
    R->ids_n += n;
  }
  // What all texts are looked for in is fetched at once: where many shards take turns, none of it is at hand.
  struct { u64 hash; i64 n; const Text *likely; } sought[MAX_COLUMNS];
  for (i64 c = 0; c < L->n; c++) {
    i64 k = L->place[c], n = k < 0 ? 0 : LENGTH(k);
    const u8 *p = k < 0 ? b : FIELD(k);
    if (c == L->path) { // nobody reads the query; `-?` is a path, and `-` none
      i64 query = place_of('?', p, n, padded);
      n = query == 1 && *p == '-' ? n : query;
    }
    sought[c].n = n;
    sought[c].hash = quick_hash(p, n, padded, R->seed + (u32)c * PRIME_3, secret);
    __builtin_prefetch(&R->slot[sought[c].hash & (u64)(R->slots - 1)]);
  }
  for (i64 c = 0; c < L->n; c++) {
    u32 found = R->slot[sought[c].hash & (u64)(R->slots - 1)];
    __builtin_prefetch(sought[c].likely = &R->text[found ? found - 1 : 0]); // of a free slot, the first
  }
  for (i64 c = 0; c < L->n; c++) __builtin_prefetch(R->bytes + sought[c].likely->at);
  for (i64 c = 0; c < L->n; c++) {
    const u8 *p = L->place[c] < 0 ? b : FIELD(L->place[c]);
    R->codes[c * R->rows_max + r] = code_of(R, p, sought[c].n, padded, sought[c].hash, c, r);
  }
  R->event_ms[r] = event_ms, R->size[r] = size, R->status[r] = (i16)status, R->id_end[r] = (u32)R->ids_n;
  return 1;
}

// Adds base + the place of each bit to `places`, of which there are n; returns how many there are then. There is room for
// 64 more, of which some may be written that do not count.
INLINE i64 add_places(i64 *places, i64 n, u64 bits, i64 base) {
  i64 count = __builtin_popcountll(bits), k = 0;
  for (; k < 8; k++, bits &= bits - 1) places[n + k] = base + lowest(bits);
  for (; RARELY(k < count); k++, bits &= bits - 1) places[n + k] = base + lowest(bits);
  return n + count;
}

// Reads whole lines from b[from:n], which ends in a newline. pay_end: where each of the payloads ends that b consists of,
// ascending, the last at n; each ends in a newline or is empty. payload_0: number of the first of them.
//
// An ordinary line becomes a row of R, any other one that is neither empty nor a comment goes into R->odd. Returns where
// it stopped: n, or the beginning of a line for which R has no room; or -1 if what it was given cannot be, R is as before
// then. first_line: how many lines of its payload come before b[from:]; is set to that of the line where it stopped.
EXPORT i64 scan(Rows *R, const Layout *L, const u8 *b, i64 n, i64 from, const i64 *pay_end, i64 pay_n, i64 payload_0,
                i64 *first_line) {
  if (n < 0 || n > MAX_BYTES || from < 0 || from > n || pay_n < 1 || pay_end[pay_n - 1] != n || (n && b[n - 1] != '\n')
      || L->fields < 1 || L->fields > MAX_FIELDS || L->n < 0 || L->n > MAX_COLUMNS || L->times < 0 || L->times > MAX_TIMES
      || R->texts_max > MAX_TEXTS || R->bytes_max > MAX_BYTES || R->ids_max > MAX_BYTES) return -1;
  i64 places[MAX_FIELDS + 66], *ends = places + 1, begin = from, fields = 0, pay = 0, line = *first_line;
  u64 high = 0;
  Lanes secret;
  for (u64 k = 0; k < 8; k++) secret[k] = xxh3((const u8 *)&k, 8, R->seed);
  ends[-1] = from - 1;
  if (!R->texts_n && R->texts_max > 0) R->text[0].at = 0; // which `row_of` may look at before there is a text
  while (pay < pay_n && pay_end[pay] <= from) pay++;
  for (i64 base = from; base < n; base += 64) {
    Block v = block_of(b + base, n - base, n - base >= 64);
    u64 newlines = bits_of((Block)(v == '\n')), marks = newlines | bits_of((Block)(v == '\t'));
    const u64 high_here = bits_of((Block)(v > 127));
    high |= high_here;
    for (;;) {
      const u64 until = newlines ^ (newlines - 1); // the bits up to the next newline; all if there is none
      fields = add_places(ends, fields, marks & until, base);
      if (RARELY(fields > MAX_FIELDS)) fields = MAX_FIELDS + 1;
      if (!newlines) break;
      i64 z = base + __builtin_ctzll(newlines);
      marks &= ~until;
      newlines &= newlines - 1;
      i64 length = z - begin, needed = length <= LINE_BYTES_MAX ? length : 0; // a longer one is odd, and takes no room
      for (; RARELY(begin >= pay_end[pay]); pay++) line = 0; // the last payload ends at n, behind any line
      if (RARELY(R->rows_n >= R->rows_max || R->odd_n >= R->odd_max || R->texts_n + L->n > R->texts_max
                 || R->bytes_n + needed + L->n + 64 > R->bytes_max || R->ids_n + needed + 64 > R->ids_max)) {
        *first_line = line;
        return begin;
      }
      int good = fields == L->fields && length <= LINE_BYTES_MAX && length && b[begin] != '#' && b[z - 1] != '\r'
                 && (!high || is_utf8(b + begin, length));
      if (good && (n - z >= 64 ? row_of(R, L, b, ends, 1, &secret) : row_of(R, L, b, ends, 0, &secret))) {
        R->payload[R->rows_n] = (i32)(payload_0 + pay);
        R->line[R->rows_n++] = (i32)line;
      } else if (length && b[begin] != '#' && !(length == 1 && b[begin] == '\r')) {
        i64 *odd = R->odd + 4 * R->odd_n++;
        memcpy(odd, (i64[]){begin, z + 1, payload_0 + pay, line}, 32);
      }
      line++, fields = 0, ends[-1] = z, begin = z + 1;
      high = high_here; // some of them may be the next line's
    }
  }
  *first_line = line;
  return n;
}

// ------------------------------------------------------------------------------------------------ messages of the KCL

typedef u32 Words __attribute__((vector_size(64), aligned(1)));

// What a character of base64 stands for, or 255.
INLINE u8 sextet(u8 c) {
  if ((u8)(c - 'A') < 26) return (u8)(c - 'A');
  if ((u8)(c - 'a') < 26) return (u8)(c - 'a' + 26);
  if (is_digit(c)) return (u8)(c - '0' + 52);
  return c == '+' ? 62 : c == '/' ? 63 : 255;
}

// 64 characters of base64 as 48 bytes, with 16 of no meaning behind them. bad: a bit for each character that is none.
INLINE Block decoded(Block x, u64 *bad) {
  Block upper = (Block)((x - 'A') < 26), lower = (Block)((x - 'a') < 26), digit = (Block)((x - '0') < 10);
  Block plus = (Block)(x == '+'), slash = (Block)(x == '/');
  *bad = ~bits_of(upper | lower | digit | plus | slash);
  Words w = (Words)(x + ((upper & (u8)-65) | (lower & (u8)-71) | (digit & 4) | (plus & 19) | (slash & 16)));
  w = (w & 0x3f) << 18 | (w & 0x3f00) << 4 | (w & 0x3f0000) >> 10 | w >> 24;
  Block y = (Block)w;
  return __builtin_shufflevector(y, y, 2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 18, 17, 16, 22, 21, 20, 26, 25, 24, 30, 29, 28,
                                 34, 33, 32, 38, 37, 36, 42, 41, 40, 46, 45, 44, 50, 49, 48, 54, 53, 52, 58, 57, 56, 62, 61,
                                 60, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
}

// Where the base64 in p[0:n] ends, which is decoded to out (out_max bytes); *out_n is set to how many there are. The text
// ends where a character stands that is none of base64's; -1 if what is before it is not whole, or there is no room.
INLINE i64 base64(const u8 *p, i64 n, u8 *out, i64 out_max, i64 *out_n) {
  i64 k = 0, o = 0;
  while (n - k >= 64 && out_max - o >= 64) {
    u64 bad;
    Block block = decoded(read512(p + k), &bad);
    memcpy(out + o, &block, 64);
    i64 good = bad ? __builtin_ctzll(bad) / 4 : 16; // groups of four
    k += 4 * good;
    o += 3 * good;
    if (bad) break;
  }
  for (; n - k >= 4 && out_max - o >= 3; k += 4, o += 3) {
    u8 a = sextet(p[k]), b = sextet(p[k + 1]), c = sextet(p[k + 2]), d = sextet(p[k + 3]);
    if (a == 255 || b == 255 || c == 255 || d == 255) {
      if (a == 255) break;
      if (b == 255 || p[k + 3] != '=' || (c == 255 && p[k + 2] != '=')) return -1;
      if (c == 255 ? b & 15 : c & 3) return -1; // bits that say nothing: not ordinary
      out[o++] = (u8)(a << 2 | b >> 4);
      if (c != 255) out[o++] = (u8)(b << 4 | c >> 2);
      k += 4;
      break;
    }
    u32 x = (u32)a << 18 | (u32)b << 12 | (u32)c << 6 | d;
    out[o] = (u8)(x >> 16);
    out[o + 1] = (u8)(x >> 8);
    out[o + 2] = (u8)x;
  }
  *out_n = o;
  return k;
}

// How many digits p[0:n] begins with.
INLINE i64 digits(const u8 *p, i64 n) {
  for (i64 k = 0; k < n; k += 64) {
    u64 others = bits_of((Block)(block_of(p + k, n - k, n - k >= 64) - '0' > 9));
    if (others) return k + lowest(others);
  }
  return n;
}

// A number of 1 to 18 digits at p[*at] of n bytes, which *at is moved behind; -1 if there is none.
INLINE i64 number_at(const u8 *p, i64 n, i64 *at) {
  i64 length = digits(p + *at, n - *at);
  if (length < 1 || length > 18 || (length > 1 && p[*at] == '0')) return -1;
  i64 value = number(p + *at, length, 0);
  *at += length;
  return value;
}

// Moves `at` behind this text in p[0:n]; where there is another one, the record is not ordinary.
#define EXPECT(text)                                                                             \
  do {                                                                                           \
    if (RARELY(n - at < (i64)sizeof text - 1 || memcmp(p + at, text, sizeof text - 1))) return 0; \
    at += (i64)sizeof text - 1;                                                                  \
  } while (0)

// The payloads of a message, one after the other, and what the KCL says of each. Arrays of records_max; the texts are of
// the sizes named beside them. ended: whether the last record of the message is there.
typedef struct {
  i64 records_n, records_max, content_n, content_max, numbers_n, numbers_max, ended;
  i64 *content_end, *number_end, *arrival_ms;
  u8 *content, *numbers;
} Message;

// Takes the record at p[*start] of n bytes, with the comma or bracket behind it, and moves *start behind that: 1; or 0,
// where it has not its usual form, is packed or not whole, or M has no room: then nothing that M says has changed, though
// what lies behind its sizes may have. A payload without a newline at its end gets one.
INLINE int record_at(const u8 *p, i64 n, i64 *start, Message *M) {
  i64 at = *start, length;
  if (RARELY(M->records_n >= M->records_max || M->content_max - M->content_n < 1)) return 0;
  EXPECT("{\"action\":\"record\",\"data\":\"");
  u8 *out = M->content + M->content_n;
  i64 taken = base64(p + at, n - at, out, M->content_max - M->content_n - 1, &length);
  if (RARELY(taken < 0 || length < 2 || (out[0] == 31 && out[1] == 139))) return 0;
  at += taken;
  if (out[length - 1] != '\n') out[length++] = '\n';
  EXPECT("\",\"partitionKey\":\"");
  const u8 *quote = memchr(p + at, '"', (size_t)(n - at));
  if (!quote) return 0;
  i64 key = quote - (p + at), odd = 0;
  for (i64 k = 0; k < key; k++) odd |= (p[at + k] < 32) | (p[at + k] > 126) | (p[at + k] == '\\');
  if (RARELY(odd)) return 0;
  at += key;
  EXPECT("\",\"sequenceNumber\":\"");
  i64 number_length = digits(p + at, n - at), digits_at = at;
  if (RARELY(number_length < 1 || number_length > M->numbers_max - M->numbers_n)) return 0;
  at += number_length;
  EXPECT("\",\"approximateArrivalTimestamp\":");
  i64 arrival_ms = number_at(p, n, &at);
  EXPECT(",\"subSequenceNumber\":");
  if (RARELY(arrival_ms < 0 || number_at(p, n, &at) < 0)) return 0;
  EXPECT("}");
  if (RARELY(n - at < 1 || (p[at] != ',' && p[at] != ']'))) return 0;
  memcpy(M->numbers + M->numbers_n, p + digits_at, (size_t)number_length);
  M->content_n += length;
  M->numbers_n += number_length;
  M->content_end[M->records_n] = M->content_n;
  M->number_end[M->records_n] = M->numbers_n;
  M->arrival_ms[M->records_n++] = arrival_ms;
  M->ended = p[at] == ']';
  *start = at + 1;
  return 1;
}

// Takes records from p[0:n], a piece of a message that begins with a record, until one is not ordinary or not whole, or
// the last one of the message was taken. Returns how many bytes they were.
EXPORT i64 unpack(const u8 *p, i64 n, Message *M) {
  i64 at = 0;
  M->ended = 0;
  while (!M->ended && record_at(p, n, &at, M)) {}
  return at;
}
