/* How much memory there is, and how much of it this process has. */
#ifndef MOEQ_MEMORY_H
#define MOEQ_MEMORY_H

#include <stdint.h>

/* Bytes of the machine; 0 where the system does not say. */
uint64_t moeq_machine_memory(void);

/* Bytes that can be had without swapping (MemAvailable of /proc/meminfo); moeq_machine_memory where the
 * system does not say. */
uint64_t moeq_available_memory(void);

/* Bytes of this process that are in memory now, and at most so far; 0 where the system does not say. */
uint64_t moeq_resident_memory(void);
uint64_t moeq_peak_memory(void);

#endif
