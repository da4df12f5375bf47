// What follows the convolution of a block: each channel of each image normalised, ReLU, means of 2 x 2 places.
//
// Maps lie channels last: (images, height, width, channels), where channels are a multiple of LANES. All passes over an
// image go through a few of its channels before the next ones, so that these stay in the cache of the core. Sums are
// float32 whatever the maps hold, and none depends on the number of threads.
//
// Vectors are written out, since compilers leave some of these loops as they are. Where the processor has none as wide,
// the compiler makes two or four of each.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace {

constexpr int WIDTH = 16;
constexpr int LANES = 2 * WIDTH;
typedef float Vector __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t Bits __attribute__((vector_size(4 * WIDTH)));

struct BFloat16 {
    uint16_t bits;
};

// LANES channels: of float32 the first half and the second, of bfloat16 those at even places and at odd ones, which
// lie in two halves of the same words.
struct Lanes {
    Vector a, b;
};

inline Lanes operator+(Lanes x, Lanes y) { return {x.a + y.a, x.b + y.b}; }
inline Lanes operator-(Lanes x, Lanes y) { return {x.a - y.a, x.b - y.b}; }
inline Lanes operator*(Lanes x, Lanes y) { return {x.a * y.a, x.b * y.b}; }
inline Lanes operator*(Lanes x, float y) { return {x.a * y, x.b * y}; }
inline void operator+=(Lanes& x, Lanes y) { x = x + y; }

template <typename Number>
inline Number load(const void* place) {
    Number found;
    std::memcpy(&found, place, sizeof found);
    return found;
}

inline Lanes read(const float* place) { return {load<Vector>(place), load<Vector>(place + WIDTH)}; }

inline Lanes read(const BFloat16* place) {
    const Bits words = load<Bits>(place);
    return {(Vector)(words << 16), (Vector)(words & 0xffff0000)};
}

inline void write(float* place, Lanes numbers) { std::memcpy(place, &numbers, sizeof numbers); }

// The upper half of each word: the nearest bfloat16, of two the even one. A NaN stays one.
inline Bits rounded(Vector numbers) {
    const Bits bits = (Bits)numbers;
    return numbers == numbers ? bits + 0x7fff + ((bits >> 16) & 1) : bits | 0x400000;
}

inline void write(BFloat16* place, Lanes numbers) {
    const Bits words = (rounded(numbers.a) >> 16) | (rounded(numbers.b) & 0xffff0000);
    std::memcpy(place, &words, sizeof words);
}

// What is kept for each channel in float32, in the order in which the maps hold channels.
template <typename T>
inline Lanes read_channels(const float* place) {
    Lanes found = read(place);
    if constexpr (sizeof(T) == 2)
        for (int k = 0; k < WIDTH; k++) found.a[k] = place[2 * k], found.b[k] = place[2 * k + 1];
    return found;
}

template <typename T>
inline void write_channels(float* place, Lanes numbers) {
    if constexpr (sizeof(T) == 2)
        for (int k = 0; k < WIDTH; k++) place[2 * k] = numbers.a[k], place[2 * k + 1] = numbers.b[k];
    else
        write(place, numbers);
}

// `passed` where `numbers` are not negative, else 0; a NaN lets pass.
inline Vector where_positive(Vector numbers, Vector passed) { return numbers <= 0 ? Vector{} : passed; }
inline Lanes where_positive(Lanes numbers, Lanes passed) {
    return {where_positive(numbers.a, passed.a), where_positive(numbers.b, passed.b)};
}
inline Lanes relu(Lanes numbers) { return where_positive(numbers, numbers); }

struct Sizes {
    int64_t images, height, width, channels;
    int64_t places() const { return height * width; }
    int64_t pooled() const { return (height / 2) * (width / 2); }
};

// The sum over all places of an image of what `of` makes of a place's channels, which `maps` point to the first of. Row by
// row and at every second place: a long sum in one number loses digits, and each addition of it waits for the one before.
template <typename T, typename Of>
inline Lanes summed(const T* maps, Sizes sizes, Of of) {
    Lanes sum = {};
    for (int64_t y = 0; y < sizes.height; y++, maps += sizes.width * sizes.channels) {
        Lanes even = {}, odd = {};
        int64_t x = 0;
        for (; x + 1 < sizes.width; x += 2) {
            even += of(read(maps + x * sizes.channels));
            odd += of(read(maps + (x + 1) * sizes.channels));
        }
        if (x < sizes.width) even += of(read(maps + x * sizes.channels));
        sum += even + odd;
    }
    return sum;
}

// The mean of each of LANES channels of an image, and one over its deviation. All pointers point to the first of these
// channels.
template <typename T>
inline void moments(const T* maps, Sizes sizes, float epsilon, Lanes& mean, Lanes& inverse) {
    const float share = 1 / static_cast<float>(sizes.places());
    mean = summed(maps, sizes, [](Lanes numbers) { return numbers; }) * share;
    const Lanes squares = summed(maps, sizes, [mean](Lanes numbers) { return (numbers - mean) * (numbers - mean); });
    for (int lane = 0; lane < WIDTH; lane++) {
        inverse.a[lane] = 1 / std::sqrt(squares.a[lane] * share + epsilon);
        inverse.b[lane] = 1 / std::sqrt(squares.b[lane] * share + epsilon);
    }
}

// The same channels from maps to pooled maps. What the way back needs of them is kept.
template <typename T>
inline void forward_channels(const T* maps, const float* weight, const float* bias, float epsilon, Sizes sizes,
                             T* pooled, float* mean, float* inverse) {
    const int64_t step = sizes.channels, row = sizes.width * step;
    Lanes means, inverses;
    moments(maps, sizes, epsilon, means, inverses);
    write_channels<T>(mean, means);
    write_channels<T>(inverse, inverses);
    const Lanes scale = inverses * read_channels<T>(weight), shift = read_channels<T>(bias);
    const auto active = [&](const T* place) { return relu((read(place) - means) * scale + shift); };
    for (int64_t y = 0; y < sizes.height / 2; y++)
        for (int64_t x = 0; x < sizes.width / 2; x++) {
            const T* from = maps + 2 * (y * row + x * step);
            const Lanes above = active(from) + active(from + step), below = active(from + row) + active(from + row + step);
            write(pooled + (y * (sizes.width / 2) + x) * step, (above + below) * 0.25f);
        }
}

// From the slope in the pooled maps, those in the maps, and those of this image in weight and bias.
template <typename T>
inline void backward_channels(const T* slope, const T* maps, const float* weight, const float* bias, const float* mean,
                              const float* inverse, Sizes sizes, T* in_maps, float* in_weight, float* in_bias) {
    const int64_t step = sizes.channels, row = sizes.width * step;
    const int64_t height = sizes.height / 2, width = sizes.width / 2;
    const float share = 1 / static_cast<float>(sizes.places());
    const Lanes means = read_channels<T>(mean), factor = read_channels<T>(inverse);
    const Lanes scale = factor * read_channels<T>(weight), shift = read_channels<T>(bias);
    // Sums over places of what passes ReLU, and of its product with the distance from the mean.
    Lanes passing = {}, leaning = {};
    for (int64_t y = 0; y < height; y++) {
        Lanes of_passing = {}, of_leaning = {};
        for (int64_t x = 0; x < width; x++) {
            const Lanes come = read(slope + (y * width + x) * step) * 0.25f;
            const T* from = maps + 2 * (y * row + x * step);
            for (const int64_t place : {int64_t{0}, step, row, row + step}) {
                const Lanes distance = read(from + place) - means;
                const Lanes passed = where_positive(distance * scale + shift, come);
                of_passing += passed;
                of_leaning += passed * distance;
            }
        }
        passing += of_passing, leaning += of_leaning;
    }
    write_channels<T>(in_weight, leaning * factor);
    write_channels<T>(in_bias, passing);
    // In a number: scale * (what passed - its mean - the normalised number * the mean of their product).
    const Lanes slant = scale * factor * factor * leaning * -share, level = scale * passing * -share;
    for (int64_t y = 0; y < sizes.height; y++)
        for (int64_t x = 0; x < sizes.width; x++) {
            const bool pooled = y / 2 < height && x / 2 < width;  // an odd last row or column is not
            const T* from = slope + (pooled ? (y / 2) * width + x / 2 : 0) * step;
            const Lanes come = read(from) * (pooled ? 0.25f : 0.0f), distance = read(maps + y * row + x * step) - means;
            const Lanes passed = where_positive(distance * scale + shift, come);
            write(in_maps + y * row + x * step, scale * passed + slant * distance + level);
        }
}

// Calls `work` with each image and the first of each LANES channels: where these begin in maps, in pooled maps, in what
// is kept for each channel of each image, and in what is kept for each channel.
template <typename Work>
void each(const Sizes& sizes, int threads, Work work) {
#pragma omp parallel for collapse(2) num_threads(threads)
    for (int64_t image = 0; image < sizes.images; image++)
        for (int64_t channel = 0; channel < sizes.channels; channel += LANES) {
            const int64_t before = image * sizes.channels;
            work(before * sizes.places() + channel, before * sizes.pooled() + channel, before + channel, channel);
        }
}

template <typename T>
void forward(const T* maps, const float* weight, const float* bias, float epsilon, const Sizes& sizes, int threads,
             T* pooled, float* mean, float* inverse) {
    each(sizes, threads, [&](int64_t whole, int64_t part, int64_t row, int64_t channel) {
        forward_channels(maps + whole, weight + channel, bias + channel, epsilon, sizes, pooled + part, mean + row,
                         inverse + row);
    });
}

template <typename T>
void backward(const T* slope, const T* maps, const float* weight, const float* bias, const float* mean,
              const float* inverse, const Sizes& sizes, int threads, T* in_maps, float* in_weight, float* in_bias) {
    each(sizes, threads, [&](int64_t whole, int64_t part, int64_t row, int64_t channel) {
        backward_channels(slope + part, maps + whole, weight + channel, bias + channel, mean + row, inverse + row,
                          sizes, in_maps + whole, in_weight + row, in_bias + row);
    });
}

}  // namespace

extern "C" {

void forward_float32(const float* maps, const float* weight, const float* bias, float epsilon, int64_t images,
                     int64_t height, int64_t width, int64_t channels, int threads, float* pooled, float* mean,
                     float* inverse) {
    forward(maps, weight, bias, epsilon, {images, height, width, channels}, threads, pooled, mean, inverse);
}

void forward_bfloat16(const BFloat16* maps, const float* weight, const float* bias, float epsilon, int64_t images,
                      int64_t height, int64_t width, int64_t channels, int threads, BFloat16* pooled, float* mean,
                      float* inverse) {
    forward(maps, weight, bias, epsilon, {images, height, width, channels}, threads, pooled, mean, inverse);
}

void backward_float32(const float* slope, const float* maps, const float* weight, const float* bias, const float* mean,
                      const float* inverse, int64_t images, int64_t height, int64_t width, int64_t channels,
                      int threads, float* in_maps, float* in_weight, float* in_bias) {
    backward(slope, maps, weight, bias, mean, inverse, {images, height, width, channels}, threads, in_maps, in_weight,
             in_bias);
}

void backward_bfloat16(const BFloat16* slope, const BFloat16* maps, const float* weight, const float* bias,
                       const float* mean, const float* inverse, int64_t images, int64_t height, int64_t width,
                       int64_t channels, int threads, BFloat16* in_maps, float* in_weight, float* in_bias) {
    backward(slope, maps, weight, bias, mean, inverse, {images, height, width, channels}, threads, in_maps, in_weight,
             in_bias);
}

}  // extern "C"
