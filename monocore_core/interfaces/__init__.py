"""The four interfaces that a backend implements, one module each, and :mod:`.provider`, by which it offers itself.

========================  ==========================================  ==========================
interface                 takes                                       gives
========================  ==========================================  ==========================
:mod:`.image_source`      reference, platform                         manifest, config, blobs
:mod:`.layer_merger`      ordered layer tars                          a root file system
:mod:`.network`           a network request                           an attachment
:mod:`.vmm`               a machine specification                     a running machine
========================  ==========================================  ==========================
"""
