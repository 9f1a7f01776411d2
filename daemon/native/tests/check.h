// A test framework of one page: TEST registers, CHECK counts, check.cpp runs.
#pragma once

#include <sstream>
#include <string>

namespace glmd::test {

using Function = void (*)();

struct Registration {
  Registration(const char* name, Function function);
};

// Notes a failed check; the test goes on.
void fail(const char* file, int line, const std::string& what);

template <class A, class B>
std::string describe(const char* expression, const A& a, const B& b) {
  std::ostringstream text;
  text << expression << ": " << a << " against " << b;
  return text.str();
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace glmd::test

#define TEST(name)                                                          \
  static void name();                                                       \
  static const ::glmd::test::Registration registration_##name(#name, name); \
  static void name()

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) ::glmd::test::fail(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_COMPARE(a, op, b)                                                   \
  do {                                                                            \
    const auto& left = (a);                                                       \
    const auto& right = (b);                                                      \
    if (!(left op right)) {                                                       \
      ::glmd::test::fail(__FILE__, __LINE__,                                      \
                         ::glmd::test::describe(#a " " #op " " #b, left, right)); \
    }                                                                             \
  } while (false)

#define CHECK_EQ(a, b) CHECK_COMPARE(a, ==, b)
#define CHECK_LE(a, b) CHECK_COMPARE(a, <=, b)
#define CHECK_GE(a, b) CHECK_COMPARE(a, >=, b)

// The expression throws Type, and its sentence contains `part`.
#define CHECK_THROWS(expression, Type, part)                               \
  do {                                                                     \
    std::string sentence = "nothing was thrown";                           \
    bool thrown = false;                                                   \
    try {                                                                  \
      expression;                                                          \
    } catch (const Type& error) {                                          \
      sentence = error.what();                                             \
      thrown = true;                                                       \
    }                                                                      \
    if (!thrown || !::glmd::test::contains(sentence, part)) {              \
      ::glmd::test::fail(__FILE__, __LINE__, #expression ": " + sentence); \
    }                                                                      \
  } while (false)
