// The errors of the core; the bindings raise them as the classes of stepguard.errors.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace stepguard {

enum class ErrorKind { kModelFormat, kRuntimeMissing, kEngineClosed, kForked };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string where, std::string expected, std::string got, std::string fix)
      : std::runtime_error(where + ": expected " + expected + ", got " + got),
        kind(kind),
        where(std::move(where)),
        expected(std::move(expected)),
        got(std::move(got)),
        fix(std::move(fix)) {}

  ErrorKind kind;
  std::string where, expected, got, fix;
};

}  // namespace stepguard
