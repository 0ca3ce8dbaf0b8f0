#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Writers of small model files, independent of the readers under test: they put down bytes in the order of the formats'
// descriptions and know nothing about validity, so that a test can write any damage.

namespace small_files {

using Bytes = std::vector<std::byte>;

template <typename Integer>
void put(Bytes& out, Integer value) {
  for (std::size_t n = 0; n < sizeof(Integer); ++n) {
    out.push_back(static_cast<std::byte>((static_cast<std::uint64_t>(value) >> (8 * n)) & 0xff));
  }
}
inline void put_text(Bytes& out, std::string_view text) {
  put<std::uint64_t>(out, text.size());
  for (const char c : text) out.push_back(static_cast<std::byte>(c));
}
inline Bytes floats(const std::vector<float>& values) {
  Bytes out;
  for (const float value : values) put<std::uint32_t>(out, std::bit_cast<std::uint32_t>(value));
  return out;
}

/// Tensor types as GGUF numbers them.
constexpr std::uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kI32 = 26;
constexpr std::uint32_t kU32 = 4, kFloat = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10;

struct Gguf {
  struct Entry {
    std::string key;
    std::uint32_t type = 0;
    Bytes value;
  };
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> sizes;  ///< fastest first, as in the file
    std::uint32_t type = kF32;
    Bytes data;
    std::uint64_t extra_offset = 0;
  };
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::int64_t extra_tensors = 0, extra_entries = 0;
  std::vector<Entry> entries;
  std::vector<Tensor> tensors;

  void number(std::string_view key, std::uint32_t value) { put(entry(key, kU32), value); }
  void real(std::string_view key, float value) { put(entry(key, kFloat), std::bit_cast<std::uint32_t>(value)); }
  void text(std::string_view key, std::string_view value) { put_text(entry(key, kString), value); }
  void truth(std::string_view key, std::uint8_t value) { put(entry(key, kBool), value); }
  void texts(std::string_view key, const std::vector<std::string>& values) {
    Bytes& out = entry(key, kArray);
    put(out, kString);
    put<std::uint64_t>(out, values.size());
    for (const std::string& value : values) put_text(out, value);
  }
  Bytes& entry(std::string_view key, std::uint32_t type) {
    entries.push_back({std::string(key), type, {}});
    return entries.back().value;
  }
  Entry& find(std::string_view key) {
    return *std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.key == key; });
  }
  void set_number(std::string_view key, std::uint32_t value) {
    find(key).value.clear();
    put(find(key).value, value);
  }
  void remove(std::string_view key) {
    std::erase_if(entries, [&](const Entry& e) { return e.key == key; });
  }
  Tensor& tensor(std::string_view name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const Tensor& t) { return t.name == name; });
  }

  /// The header alone; `data_size`: of all tensors with padding.
  Bytes header() const {
    Bytes out;
    for (const char c : std::string_view("GGUF")) out.push_back(static_cast<std::byte>(c));
    put(out, version);
    put<std::uint64_t>(out, tensors.size() + static_cast<std::uint64_t>(extra_tensors));
    put<std::uint64_t>(out, entries.size() + static_cast<std::uint64_t>(extra_entries));
    for (const Entry& e : entries) {
      put_text(out, e.key);
      put(out, e.type);
      out.insert(out.end(), e.value.begin(), e.value.end());
    }
    std::uint64_t offset = 0;
    for (const Tensor& t : tensors) {
      put_text(out, t.name);
      put<std::uint32_t>(out, static_cast<std::uint32_t>(t.sizes.size()));
      for (const std::uint64_t size : t.sizes) put(out, size);
      put(out, t.type);
      put(out, offset + t.extra_offset);
      offset += (t.data.size() + alignment - 1) / alignment * alignment;
    }
    return out;
  }
  Bytes bytes() const {
    Bytes out = header();
    for (const Tensor& t : tensors) {
      out.resize((out.size() + alignment - 1) / alignment * alignment);
      out.insert(out.end(), t.data.begin(), t.data.end());
    }
    return out;
  }
};

/// Numbers that differ from element to element.
inline Bytes ramp(std::uint64_t elements, float start) {
  std::vector<float> values;
  for (std::uint64_t n = 0; n < elements; ++n) values.push_back(start + static_cast<float>(n) / 1024.0f);
  return floats(values);
}

/// A llama of 2 layers: hidden 8, ffn 12, 4 heads of 2, 2 kv heads, vocabulary 5, context 16; all F32; tied head.
inline Gguf small_llama() {
  Gguf file;
  file.text("general.architecture", "llama");
  file.number("llama.block_count", 2);
  file.number("llama.context_length", 16);
  file.number("llama.embedding_length", 8);
  file.number("llama.feed_forward_length", 12);
  file.number("llama.attention.head_count", 4);
  file.number("llama.attention.head_count_kv", 2);
  file.number("llama.rope.dimension_count", 2);
  file.real("llama.rope.freq_base", 5000.0f);
  file.real("llama.attention.layer_norm_rms_epsilon", 0x1p-17f);
  file.truth("tokenizer.ggml.add_bos_token", 1);
  file.texts("tokenizer.ggml.tokens", {"a", "b", "", "dd", "e"});
  float start = 0;
  const auto add = [&](const std::string& name, std::uint64_t out, std::uint64_t in) {
    const std::vector<std::uint64_t> sizes =
        in == 0 ? std::vector<std::uint64_t>{out} : std::vector<std::uint64_t>{in, out};
    file.tensors.push_back({name + ".weight", sizes, kF32, ramp(out * std::max<std::uint64_t>(in, 1), start), 0});
    start += 1;
  };
  add("token_embd", 5, 8);
  for (const char* layer : {"blk.0.", "blk.1."}) {
    add(std::string(layer) + "attn_norm", 8, 0);
    add(std::string(layer) + "ffn_down", 8, 12);
    add(std::string(layer) + "ffn_gate", 12, 8);
    add(std::string(layer) + "ffn_up", 12, 8);
    add(std::string(layer) + "ffn_norm", 8, 0);
    add(std::string(layer) + "attn_k", 4, 8);
    add(std::string(layer) + "attn_output", 8, 8);
    add(std::string(layer) + "attn_q", 8, 8);
    add(std::string(layer) + "attn_v", 4, 8);
  }
  add("output_norm", 8, 0);
  return file;
}

/// A safetensors file from its header and data.
inline Bytes safetensors(std::string_view header, const Bytes& data) {
  Bytes out;
  put_text(out, header);
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

/// F32 tensors, one after the other, filled with numbers.
inline Bytes safetensors_of(const std::vector<std::pair<std::string, std::vector<std::uint64_t>>>& tensors,
                            std::string_view metadata = "") {
  std::string header = "{";
  if (!metadata.empty()) header += "\"__metadata__\":" + std::string(metadata);
  Bytes data;
  float start = 0;
  for (const auto& [name, shape] : tensors) {
    std::uint64_t elements = 1;
    std::string shape_text;
    for (const std::uint64_t size : shape) {
      elements *= size;
      shape_text += (shape_text.empty() ? "" : ",") + std::to_string(size);
    }
    const std::size_t begin = data.size();
    const Bytes values = ramp(elements, start++);
    data.insert(data.end(), values.begin(), values.end());
    header += std::string(header.size() > 1 ? "," : "") + "\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[" +
              shape_text + "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  return safetensors(header + "}", data);
}

/// Calls `read` with every truncation of `bytes`; each time in a block of its own of exactly that size, so that a
/// memory checker sees a read behind the end.
inline void for_every_truncation(const Bytes& bytes,
                                 const std::function<void(std::span<const std::byte>, std::size_t)>& read) {
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    read(part, size);
  }
}

/// Calls `read` with every file that differs from `bytes` in one bit of the first `count` bytes.
inline void for_every_bit_flip(const Bytes& bytes, std::size_t count,
                               const std::function<void(std::span<const std::byte>)>& read) {
  Bytes damaged = bytes;
  for (std::size_t n = 0; n < count; ++n) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      damaged[n] ^= static_cast<std::byte>(1u << bit);
      read(damaged);
      damaged[n] = bytes[n];
    }
  }
}

}  // namespace small_files
