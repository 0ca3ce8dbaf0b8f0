// Numbers as eight bytes, texts with their length in front.

#include "danaus/explore/wire.h"

#include <cstring>
#include <string>
#include <string_view>

#include "danaus/core/internal_error.h"

namespace danaus::explore {
namespace {

enum class Kind : std::uint64_t { hello, outcomes, error };

class Writer {
 public:
  void number(std::uint64_t value) { append(&value, sizeof value); }
  void real(double value) { append(&value, sizeof value); }
  void text(std::string_view value) {
    number(value.size());
    append(value.data(), value.size());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const std::byte* const first = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
  }
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  explicit Reader(const std::vector<std::byte>& bytes) : bytes_(bytes) {}
  std::uint64_t number() { return read<std::uint64_t>(); }
  double real() { return read<double>(); }
  std::string text() {
    const std::uint64_t size = number();
    ensure(size <= bytes_.size() - at_, "a message of a rank is whole");
    const char* const first = reinterpret_cast<const char*>(bytes_.data() + at_);
    at_ += size;
    return std::string(first, size);
  }

 private:
  template <typename T>
  T read() {
    ensure(sizeof(T) <= bytes_.size() - at_, "a message of a rank is whole");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  const std::vector<std::byte>& bytes_;
  std::size_t at_ = 0;
};

Writer begin(Kind kind) {
  Writer writer;
  writer.number(static_cast<std::uint64_t>(kind));
  return writer;
}

Error read_error(Reader& reader) {
  std::string id = reader.text();
  const auto failure = static_cast<Failure>(reader.number());
  Error error(id, failure, reader.text());
  error.where.file = reader.text();
  error.where.line = static_cast<std::uint32_t>(reader.number());
  error.where.column = static_cast<std::uint32_t>(reader.number());
  error.notes.resize(reader.number());
  for (std::string& note : error.notes) note = reader.text();
  error.hint = reader.text();
  return error;
}

}  // namespace

std::vector<std::byte> write_hello(const Digest& plan) {
  Writer writer = begin(Kind::hello);
  writer.number(plan.high);
  writer.number(plan.low);
  return writer.take();
}

std::vector<std::byte> write_outcomes(const std::vector<Outcome>& outcomes) {
  Writer writer = begin(Kind::outcomes);
  writer.number(outcomes.size());
  for (const Outcome& outcome : outcomes) {
    writer.number(outcome.number);
    writer.number(outcome.error ? 1 : 0);
    if (outcome.error) {
      writer.text(outcome.error->id);
      writer.text(outcome.error->message);
    }
    writer.number(outcome.values.size());
    for (const std::optional<double>& value : outcome.values) {
      writer.number(value ? 1 : 0);
      writer.real(value.value_or(0));
    }
  }
  return writer.take();
}

std::vector<std::byte> write_error(const Error& error) {
  Writer writer = begin(Kind::error);
  writer.text(error.id);
  writer.number(static_cast<std::uint64_t>(error.failure));
  writer.text(error.message);
  writer.text(error.where.file);
  writer.number(error.where.line);
  writer.number(error.where.column);
  writer.number(error.notes.size());
  for (const std::string& note : error.notes) writer.text(note);
  writer.text(error.hint);
  return writer.take();
}

Result<Digest> read_hello(const std::vector<std::byte>& bytes) {
  Reader reader(bytes);
  const auto kind = static_cast<Kind>(reader.number());
  if (kind == Kind::error) return fail(read_error(reader));
  ensure(kind == Kind::hello, "the first message of a rank is a hello or an error");
  Digest digest;
  digest.high = reader.number();
  digest.low = reader.number();
  return digest;
}

Result<std::vector<Outcome>> read_outcomes(const std::vector<std::byte>& bytes) {
  Reader reader(bytes);
  const auto kind = static_cast<Kind>(reader.number());
  if (kind == Kind::error) return fail(read_error(reader));
  ensure(kind == Kind::outcomes, "a rank sends outcomes or an error");
  std::vector<Outcome> outcomes;
  for (std::uint64_t left = reader.number(); left > 0; --left) {
    Outcome outcome;
    outcome.number = reader.number();
    if (reader.number() != 0) {
      std::string id = reader.text();
      outcome.error = PointError{std::move(id), reader.text()};
    }
    for (std::uint64_t values = reader.number(); values > 0; --values) {
      const bool there = reader.number() != 0;
      const double value = reader.real();
      outcome.values.push_back(there ? std::optional(value) : std::nullopt);
    }
    outcomes.push_back(std::move(outcome));
  }
  return outcomes;
}

std::vector<std::byte> write_numbers(const std::vector<std::uint64_t>& numbers) {
  Writer writer;
  writer.number(numbers.size());
  for (const std::uint64_t number : numbers) writer.number(number);
  return writer.take();
}

std::vector<std::uint64_t> read_numbers(const std::vector<std::byte>& bytes) {
  Reader reader(bytes);
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t left = reader.number(); left > 0; --left) numbers.push_back(reader.number());
  return numbers;
}

}  // namespace danaus::explore
