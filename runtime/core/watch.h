// Mapped files must not change under the model: a changed page would change its answers, and a
// truncated one would end the process.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

namespace stepguard {

class Watch {
 public:
  // Remembers what the files are now. A file that is not there is left out.
  explicit Watch(const std::vector<std::string>& paths);

  // Empty, or what has changed, from the first change on.
  const std::string& changed();

 private:
  struct File {
    std::string path;
    struct stat found;
  };
  std::vector<File> files_;
  std::string changed_;
};

}  // namespace stepguard
