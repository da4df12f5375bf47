// What follows the convolution of a block: each channel of each image normalised, ReLU, means of 2 x 2 places.
//
// Maps lie channels last: (images, height, width, channels), where channels are a multiple of LANES. All passes over an
// image go through a few of its channels before the next ones, so that these stay in the cache of the core. Sums are
// float32 whatever the maps hold, and none depends on the number of threads.
//
// Vectors are written out, since compilers leave some of these loops as they are. Where the processor has none as wide,
// the compiler makes two or four of each.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

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

// Of COUNT lanes of one image: the mean of each channel, and one over its deviation.
template <int COUNT, typename T>
inline void moments(const T* maps, float epsilon, const Sizes& sizes, Lanes* mean, Lanes* inverse) {
    const float share = 1 / static_cast<float>(sizes.places());
    Lanes sum[COUNT] = {}, squares[COUNT] = {};
    for (int64_t place = 0; place < sizes.places(); place++)
        for (int k = 0; k < COUNT; k++) sum[k] += read(maps + place * sizes.channels + k * LANES);
    for (int k = 0; k < COUNT; k++) sum[k] = sum[k] * share;
    for (int64_t place = 0; place < sizes.places(); place++)
        for (int k = 0; k < COUNT; k++) {
            const Lanes difference = read(maps + place * sizes.channels + k * LANES) - sum[k];
            squares[k] += difference * difference;
        }
    for (int k = 0; k < COUNT; k++) {
        mean[k] = sum[k];
        for (int lane = 0; lane < WIDTH; lane++) {
            inverse[k].a[lane] = 1 / std::sqrt(squares[k].a[lane] * share + epsilon);
            inverse[k].b[lane] = 1 / std::sqrt(squares[k].b[lane] * share + epsilon);
        }
    }
}

struct Forward {
    static constexpr int COUNT = 2;

    template <int COUNT, typename T>
    static void work(const Sizes& sizes, float epsilon, const float* weight, const float* bias, const T* maps,
                     T* pooled, float* mean, float* inverse) {
        const int64_t step = sizes.channels, row = sizes.width * step;
        Lanes means[COUNT], inverses[COUNT], scale[COUNT], shift[COUNT];
        moments<COUNT>(maps, epsilon, sizes, means, inverses);
        for (int k = 0; k < COUNT; k++) {
            write_channels<T>(mean + k * LANES, means[k]);
            write_channels<T>(inverse + k * LANES, inverses[k]);
            scale[k] = inverses[k] * read_channels<T>(weight + k * LANES);
            shift[k] = read_channels<T>(bias + k * LANES) - means[k] * scale[k];
        }
        for (int64_t y = 0; y < sizes.height / 2; y++)
            for (int64_t x = 0; x < sizes.width / 2; x++)
                for (int k = 0; k < COUNT; k++) {
                    const T* from = maps + 2 * (y * row + x * step) + k * LANES;
                    const Lanes above = relu(read(from) * scale[k] + shift[k]) +
                                        relu(read(from + step) * scale[k] + shift[k]);
                    const Lanes below = relu(read(from + row) * scale[k] + shift[k]) +
                                        relu(read(from + row + step) * scale[k] + shift[k]);
                    write(pooled + (y * (sizes.width / 2) + x) * step + k * LANES, (above + below) * 0.25f);
                }
    }
};

struct Backward {
    static constexpr int COUNT = 1;

    // From the slope in the pooled maps, those in the maps, and those of this image in weight and bias.
    template <int COUNT, typename T>
    static void work(const Sizes& sizes, const float* weight, const float* bias, const float* mean,
                     const float* inverse, const T* slope, const T* maps, T* in_maps, float* in_weight,
                     float* in_bias) {
        const int64_t step = sizes.channels, row = sizes.width * step;
        const int64_t height = sizes.height / 2, width = sizes.width / 2;
        const float share = 1 / static_cast<float>(sizes.places());
        Lanes factor[COUNT], offset[COUNT], scale[COUNT], shift[COUNT], of_weight[COUNT] = {}, of_bias[COUNT] = {};
        for (int k = 0; k < COUNT; k++) {
            const Lanes means = read_channels<T>(mean + k * LANES);
            factor[k] = read_channels<T>(inverse + k * LANES);  // a normalised number is x * factor + offset
            offset[k] = means * factor[k] * -1;
            scale[k] = factor[k] * read_channels<T>(weight + k * LANES);
            shift[k] = read_channels<T>(bias + k * LANES) - means * scale[k];
        }
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++)
                for (int k = 0; k < COUNT; k++) {
                    const Lanes come = read(slope + (y * width + x) * step + k * LANES) * 0.25f;
                    const T* from = maps + 2 * (y * row + x * step) + k * LANES;
                    for (const int64_t place : {int64_t{0}, step, row, row + step}) {
                        const Lanes number = read(from + place);
                        const Lanes passed = where_positive(number * scale[k] + shift[k], come);
                        of_bias[k] += passed;
                        of_weight[k] += passed * (number * factor[k] + offset[k]);
                    }
                }
        // In a number: scale * (what passed - its mean - the normalised number * the mean of their product).
        Lanes slant[COUNT], level[COUNT];
        for (int k = 0; k < COUNT; k++) {
            write_channels<T>(in_weight + k * LANES, of_weight[k]);
            write_channels<T>(in_bias + k * LANES, of_bias[k]);
            slant[k] = scale[k] * factor[k] * of_weight[k] * -share;
            level[k] = scale[k] * (of_bias[k] + offset[k] * of_weight[k]) * -share;
        }
        for (int64_t y = 0; y < sizes.height; y++)
            for (int64_t x = 0; x < sizes.width; x++) {
                const bool pooled = y / 2 < height && x / 2 < width;  // an odd last row or column is not
                const T* from = slope + (pooled ? (y / 2) * width + x / 2 : 0) * step;
                const int64_t place = y * row + x * step;
                for (int k = 0; k < COUNT; k++) {
                    const Lanes number = read(maps + place + k * LANES);
                    const Lanes come = read(from + k * LANES) * (pooled ? 0.25f : 0.0f);
                    const Lanes passed = where_positive(number * scale[k] + shift[k], come);
                    write(in_maps + place + k * LANES, scale[k] * passed + slant[k] * number + level[k]);
                }
            }
    }
};

// Calls `work` for each image and each COUNT lanes of its channels.
template <int COUNT, typename Work>
void each(const Sizes& sizes, int threads, Work work) {
    const int64_t groups = (sizes.channels + COUNT * LANES - 1) / (COUNT * LANES);
#pragma omp parallel for collapse(2) num_threads(threads)
    for (int64_t image = 0; image < sizes.images; image++)
        for (int64_t group = 0; group < groups; group++) work(image, group * COUNT * LANES);
}

template <typename T>
void forward(const T* maps, const float* weight, const float* bias, float epsilon, const Sizes& sizes, int threads,
             T* pooled, float* mean, float* inverse) {
    constexpr int COUNT = Forward::COUNT;
    each<COUNT>(sizes, threads, [&](int64_t image, int64_t channel) {
        const int64_t whole = image * sizes.places() * sizes.channels, part = image * sizes.pooled() * sizes.channels;
        const int64_t row = image * sizes.channels, end = std::min(channel + COUNT * LANES, sizes.channels);
        const bool full = end - channel == COUNT * LANES;
        for (int64_t c = channel; c < end; c += full ? COUNT * LANES : LANES)
            (full ? Forward::work<COUNT, T> : Forward::work<1, T>)(sizes, epsilon, weight + c, bias + c,
                                                                   maps + whole + c, pooled + part + c,
                                                                   mean + row + c, inverse + row + c);
    });
}

template <typename T>
void backward(const T* slope, const T* maps, const float* weight, const float* bias, const float* mean,
              const float* inverse, const Sizes& sizes, int threads, T* in_maps, float* in_weight, float* in_bias) {
    constexpr int COUNT = Backward::COUNT;
    each<COUNT>(sizes, threads, [&](int64_t image, int64_t channel) {
        const int64_t whole = image * sizes.places() * sizes.channels, part = image * sizes.pooled() * sizes.channels;
        const int64_t row = image * sizes.channels, end = std::min(channel + COUNT * LANES, sizes.channels);
        const bool full = end - channel == COUNT * LANES;
        for (int64_t c = channel; c < end; c += full ? COUNT * LANES : LANES)
            (full ? Backward::work<COUNT, T> : Backward::work<1, T>)(
                sizes, weight + c, bias + c, mean + row + c, inverse + row + c, slope + part + c, maps + whole + c,
                in_maps + whole + c, in_weight + row + c, in_bias + row + c);
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
