#include "tests/check.h"

#include <cstdio>
#include <exception>
#include <vector>

namespace glmd::test {
namespace {

struct Case {
  const char* name;
  Function function;
};

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

int failures = 0;

}  // namespace

Registration::Registration(const char* name, Function function) {
  cases().push_back({name, function});
}

void fail(const char* file, int line, const std::string& what) {
  ++failures;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}

}  // namespace glmd::test

int main(int argc, char** argv) {
  using namespace glmd::test;
  int ran = 0;
  int failed = 0;
  for (const Case& test : cases()) {
    if (argc > 1 && !contains(test.name, argv[1])) continue;
    const int before = failures;
    try {
      test.function();
    } catch (const std::exception& error) {
      fail(test.name, 0, std::string("threw ") + error.what());
    }
    ++ran;
    failed += failures > before ? 1 : 0;
    std::printf("%s %s\n", failures > before ? "FAIL" : "ok  ", test.name);
  }
  std::printf("%d of %d tests passed\n", ran - failed, ran);
  return failed > 0 || ran == 0 ? 1 : 0;
}
