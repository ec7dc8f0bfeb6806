#include "watch.h"

#include <utility>

namespace stepguard {
namespace {

bool same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool same(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         same(a.st_mtim, b.st_mtim) && same(a.st_ctim, b.st_ctim);
}

}  // namespace

Watch::Watch(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    File file{path, {}};
    if (stat(path.c_str(), &file.found) == 0) files_.push_back(std::move(file));
  }
}

const std::string& Watch::changed() {
  if (!changed_.empty()) return changed_;
  for (const File& file : files_) {
    struct stat now;
    const bool there = stat(file.path.c_str(), &now) == 0;
    if (there && same(file.found, now)) continue;
    changed_ = file.path + " changed after it was loaded: expected the same file of " +
               std::to_string(file.found.st_size) + " bytes, got " +
               (!there                              ? "none"
                : now.st_size != file.found.st_size ? std::to_string(now.st_size) + " bytes"
                : now.st_ino != file.found.st_ino   ? "another file"
                                                    : "one that was written to or touched") +
               ". Load the guard again";
    break;
  }
  return changed_;
}

}  // namespace stepguard
